// Package cluster runs a real Kubernetes API server on a real etcd, on loopback, for
// tests of what is installed into one.
//
// Start at [Start]. A Cluster ends with Close, and its processes with this one. There
// are no nodes and no controllers: objects are admitted, stored and served, and nothing
// else happens to them unless a test does it.
package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/weirhq/weir/internal/stage"
)

// token is the administrator's. Only this machine can reach the cluster.
const token = "administrator"

// Cluster is an API server that runs.
type Cluster struct {
	// Kubeconfig is the file with which kubectl and helm reach it as administrator.
	Kubeconfig string

	tools        string
	etcd, server *stage.Process
}

// Start starts a cluster from the binaries etcd, kube-apiserver and kubectl in tools, with
// its files in dir, and returns once it answers.
func Start(ctx context.Context, tools, dir string) (*Cluster, error) {
	c := &Cluster{Kubeconfig: filepath.Join(dir, "kubeconfig"), tools: tools}
	if err := c.start(ctx, dir); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, dir string) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	store, peers, server := "http://"+ports[0], "http://"+ports[1], "https://"+ports[2]
	if err := c.write(dir, server); err != nil {
		return err
	}
	// What is stored ends with the test: etcd need not wait for the disk.
	c.etcd, err = stage.Start("etcd", dir, filepath.Join(c.tools, "etcd"), nil,
		"--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(ports[2])
	key := filepath.Join(dir, "accounts.pem")
	c.server, err = stage.Start("kube-apiserver", dir, filepath.Join(c.tools, "kube-apiserver"), nil,
		"--etcd-servers", store, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", port,
		"--cert-dir", filepath.Join(dir, "certificates"), "--service-cluster-ip-range", "10.0.0.0/24",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", key, "--service-account-signing-key-file", key,
		"--authorization-mode", "Node,RBAC", "--token-auth-file", filepath.Join(dir, "tokens.csv"),
		// No controller makes service accounts, and nothing serves the kubernetes Service.
		"--disable-admission-plugins", "ServiceAccount", "--endpoint-reconciler-type", "none")
	if err != nil {
		return err
	}
	return c.server.Await(ctx, func(ctx context.Context) bool { return answers(ctx, server+"/readyz") })
}

// write writes the files that the API server and its clients read.
func (c *Cluster) write(dir, server string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("make key of service accounts: %w", err)
	}
	files := map[string][]byte{
		"accounts.pem": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"tokens.csv":   []byte(token + `,admin,1,"system:masters"`),
		"kubeconfig": fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: it, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: it, user: {token: %s}}]
contexts: [{name: it, context: {cluster: it, user: it}}]
current-context: it
`, server, token),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// answers tells whether the API server says that it is ready.
func answers(ctx context.Context, address string) bool {
	// The certificate is one that the server has just made for itself.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Kubectl runs kubectl, with input on its standard input, and returns what it printed; what
// it said on standard error is in the error.
func (c *Cluster) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.tools, "kubectl"), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, complaint.String())
	}
	return out.String(), nil
}

// Close ends the cluster; what it stored is not needed again.
func (c *Cluster) Close() {
	for _, p := range []*stage.Process{c.server, c.etcd} {
		if p != nil {
			p.Kill()
		}
	}
}

// freePorts finds ports of loopback that nobody listens on.
func freePorts(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // all are held until all are found
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
