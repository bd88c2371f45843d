// Command faultfs is a file system that passes everything on to a directory and fails on demand.
//
//	faultfs DIRECTORY MOUNTPOINT
//
// What DIRECTORY.fault holds says how: EIO lets every fsync fail, ENOSPC every write, EROFS
// everything that changes something; anything else, or no such file, nothing. It says "mounted"
// once it is, and ends with SIGTERM or SIGINT. It needs /dev/fuse and the right to mount.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: faultfs DIRECTORY MOUNTPOINT")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "faultfs:", err)
		os.Exit(1)
	}
}

func serve(dir, mountpoint string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	root := &fs.LoopbackRoot{Path: dir}
	root.NewNode = func(data *fs.LoopbackRoot, _ *fs.Inode, _ string, _ *syscall.Stat_t) fs.InodeEmbedder {
		return &node{LoopbackNode: fs.LoopbackNode{RootData: data}, fault: fault(dir + ".fault")}
	}
	rootNode := root.NewNode(root, nil, "", nil)
	root.RootNode = rootNode
	server, err := fs.Mount(mountpoint, rootNode, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: dir, Name: "faultfs"}})
	if err != nil {
		return fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	fmt.Println("mounted")
	<-ctx.Done()
	if err := server.Unmount(); err != nil {
		return fmt.Errorf("unmount %s: %w", mountpoint, err)
	}
	return nil
}

// fault is the file that says how to fail.
type fault string

func (f fault) is(names ...string) bool {
	said, err := os.ReadFile(string(f))
	if err != nil {
		return false
	}
	for _, name := range names {
		if strings.TrimSpace(string(said)) == name {
			return true
		}
	}
	return false
}

// changes is the error of whatever changes something, or 0.
func (f fault) changes() syscall.Errno {
	if f.is("EROFS") {
		return syscall.EROFS
	}
	return 0
}

// node is a file or directory.
type node struct {
	fs.LoopbackNode
	fault fault
}

const writing = syscall.O_WRONLY | syscall.O_RDWR | syscall.O_TRUNC | syscall.O_CREAT

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.fault.changes(); errno != 0 && flags&writing != 0 {
		return nil, 0, errno
	}
	h, _, errno := n.LoopbackNode.Open(ctx, flags)
	return wrap(h, n.fault), 0, errno
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.fault.changes(); errno != 0 {
		return nil, nil, 0, errno
	}
	inode, h, _, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, wrap(h, n.fault), 0, errno
}

func (n *node) Setattr(ctx context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if errno := n.fault.changes(); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

func (n *node) Getattr(ctx context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.LoopbackNode.Getattr(ctx, nil, out)
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.fault.changes(); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if errno := n.fault.changes(); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, toName string, flags uint32) syscall.Errno {
	if errno := n.fault.changes(); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Rename(ctx, name, to, toName, flags)
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.fault.changes(); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Link(ctx, target, name, out)
}

// file is an open file. It has the methods of the inner one that matter here, and none by which
// the kernel would go past it.
type file struct {
	inner fs.FileHandle
	fault fault
}

func wrap(h fs.FileHandle, f fault) fs.FileHandle {
	if h == nil {
		return nil
	}
	return &file{h, f}
}

func (f *file) Read(ctx context.Context, to []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	return f.inner.(fs.FileReader).Read(ctx, to, offset)
}

func (f *file) Write(ctx context.Context, data []byte, offset int64) (uint32, syscall.Errno) {
	if f.fault.is("ENOSPC") {
		return 0, syscall.ENOSPC
	}
	if errno := f.fault.changes(); errno != 0 {
		return 0, errno
	}
	return f.inner.(fs.FileWriter).Write(ctx, data, offset)
}

func (f *file) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if f.fault.is("EIO") {
		return syscall.EIO
	}
	return f.inner.(fs.FileFsyncer).Fsync(ctx, flags)
}

func (f *file) Flush(ctx context.Context) syscall.Errno {
	return f.inner.(fs.FileFlusher).Flush(ctx)
}

func (f *file) Release(ctx context.Context) syscall.Errno {
	return f.inner.(fs.FileReleaser).Release(ctx)
}
