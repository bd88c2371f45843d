// Package stage sets the stage for the demo and the end-to-end tests: the emulator,
// weir and Envoy as processes of their own, and an application that counts what it
// serves, all on free ports of this machine, from the files in examples.
//
// Start at [Set]. A Stage ends with Close, and its processes with this one.
package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/sample"
)

// startTimeout is how long a process may take until it is ready; none takes more than
// some seconds.
const startTimeout = 30 * time.Second

// The ports of the files in examples.
const (
	portEmulator  = 4588
	portGRPC      = 9001
	portHTTP      = 9002
	portAdmin     = 9003
	portPublic    = 9004 // in no example: it may face the internet
	portEnvoy     = 9901
	portIngress   = 10000
	portApp       = 19001
	portAppGRPC   = 19002
	firstFreePort = 20000 // below the ports that outgoing connections take
	freePorts     = 10000
	portsApart    = 100 // between stages of one process
)

// Plan is what the stage is made of; empty members take the files in examples.
type Plan struct {
	Dir         string // a directory of its own: files, state and logs go there
	Weir        string // the weir binary
	Envoy       string // the Envoy binary; empty: no Envoy is started
	Config      string // weir.yaml
	EnvoyConfig string // envoy.yaml
	Marketplace string // the emulator's scenario
	Env         []string
	App         *sample.App // nil: the sample application as it is
	// Number keeps the ports of stages apart that one process sets side by side.
	Number int
}

// Stage is everything, running.
type Stage struct {
	Control
	App *sample.App
	// Ingress and Application are host:port of Envoy and of the application behind it; GRPC, HTTP,
	// Admin and Public those of weir.
	Ingress, Application, GRPC, HTTP, Admin, Public string

	plan       Plan
	ports      map[string]string
	emulator   *Process
	weir       *Process
	envoy      *Process
	stopApp    context.CancelFunc
	appEnded   chan error
	ConfigFile string
}

// Set starts everything and returns once a request can be sent.
func Set(ctx context.Context, plan Plan) (*Stage, error) {
	s := &Stage{plan: plan, App: plan.App, ports: map[string]string{}}
	if s.App == nil {
		s.App = &sample.App{}
	}
	if err := s.set(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stage) set(ctx context.Context) error {
	if err := s.takePorts(); err != nil {
		return err
	}
	s.URL = "http://" + s.address(portEmulator)
	s.Ingress, s.Application = s.address(portIngress), s.address(portApp)
	s.GRPC, s.HTTP, s.Admin, s.Public = s.address(portGRPC), s.address(portHTTP), s.address(portAdmin), s.address(portPublic)
	if err := s.startApp(ctx); err != nil {
		return err
	}
	if err := s.startEmulator(ctx); err != nil {
		return err
	}
	if err := s.StartWeir(ctx); err != nil {
		return err
	}
	if s.plan.Envoy == "" {
		return nil
	}
	return s.StartEnvoy(ctx)
}

// address is the loopback address that stands for a port of the examples.
func (s *Stage) address(port int) string { return "127.0.0.1:" + s.ports[strconv.Itoa(port)] }

// takePorts finds a free port for each of the examples'.
func (s *Stage) takePorts() error {
	next := firstFreePort + (os.Getpid()+s.plan.Number*portsApart)%freePorts
	for _, port := range []int{portEmulator, portGRPC, portHTTP, portAdmin, portPublic, portEnvoy, portIngress, portApp, portAppGRPC} {
		for tries := 0; ; tries++ {
			next = firstFreePort + (next+1-firstFreePort)%freePorts
			if free(next) {
				break
			}
			if tries == freePorts {
				return errors.New("find a free port: there is none")
			}
		}
		s.ports[strconv.Itoa(port)] = strconv.Itoa(next)
	}
	return nil
}

func free(port int) bool {
	lis, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	lis.Close()
	return true
}

// number finds the ports in a configuration.
var number = regexp.MustCompile(`\b[0-9]{4,5}\b`)

// Moved is a text of the examples or of a guide with the stage's ports in the place of theirs.
func (s *Stage) Moved(text string) string {
	return number.ReplaceAllStringFunc(text, func(port string) string {
		if moved, ok := s.ports[port]; ok {
			return moved
		}
		return port
	})
}

// move writes a configuration into the stage's directory, with the stage's ports in
// the place of the examples'.
func (s *Stage) move(name, text, fallback string) (string, error) {
	if text == "" {
		text = fallback
	}
	text = s.Moved(text)
	file := filepath.Join(s.plan.Dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return file, nil
}

func (s *Stage) startApp(ctx context.Context) error {
	web, err := net.Listen("tcp", s.address(portApp))
	if err != nil {
		return fmt.Errorf("start application: %w", err)
	}
	rpc, err := net.Listen("tcp", s.address(portAppGRPC))
	if err != nil {
		return errors.Join(fmt.Errorf("start application: %w", err), web.Close())
	}
	ctx, s.stopApp = context.WithCancel(context.WithoutCancel(ctx))
	s.appEnded = make(chan error, 1)
	go func() { s.appEnded <- s.App.Run(ctx, web, rpc) }()
	return nil
}

func (s *Stage) startEmulator(ctx context.Context) error {
	scenario, err := s.move("marketplace.yaml", s.plan.Marketplace, examples.Marketplace)
	if err != nil {
		return err
	}
	s.emulator, err = Start("emulator", s.plan.Dir, s.plan.Weir, s.plan.Env,
		"emulator", "-listen", s.address(portEmulator), "-scenario", scenario)
	if err != nil {
		return err
	}
	return s.emulator.Await(ctx, answers(s.URL+"/_control/clock"))
}

// state is the line of the configuration that names the state directory.
var state = regexp.MustCompile(`(?m)^state:.*$`)

// StartWeir starts weir; after a stop it comes back on the same ports and state.
func (s *Stage) StartWeir(ctx context.Context) error {
	text := s.plan.Config
	if text == "" {
		text = examples.Weir
	}
	text = state.ReplaceAllString(text, "state: "+filepath.Join(s.plan.Dir, "state"))
	file, err := s.move("weir.yaml", text, "")
	if err != nil {
		return err
	}
	s.ConfigFile = file
	env := append([]string{"AWS_ACCESS_KEY_ID=demo", "AWS_SECRET_ACCESS_KEY=demo", "AWS_EC2_METADATA_DISABLED=true"}, s.plan.Env...)
	if s.weir, err = Start("weir", s.plan.Dir, s.plan.Weir, env, "serve", "-config", file); err != nil {
		return err
	}
	return s.weir.Await(ctx, answers("http://"+s.Admin+"/readyz"))
}

// StopWeir ends weir with SIGTERM and waits; weir has to exit with 0.
func (s *Stage) StopWeir() error { return s.weir.Stop() }

// KillWeir ends weir with SIGKILL.
func (s *Stage) KillWeir() { s.weir.Kill() }

// WeirPID is the process of weir.
func (s *Stage) WeirPID() int { return s.weir.cmd.Process.Pid }

// WeirTail is the end of weir's log.
func (s *Stage) WeirTail() string { return s.weir.Tail() }

// StartEnvoy starts Envoy.
func (s *Stage) StartEnvoy(ctx context.Context) error {
	file, err := s.move("envoy.yaml", s.plan.EnvoyConfig, examples.Envoy)
	if err != nil {
		return err
	}
	// The base id keeps several Envoys on one machine apart.
	s.envoy, err = Start("envoy", s.plan.Dir, s.plan.Envoy, nil,
		"-c", file, "--concurrency", "2", "--use-dynamic-base-id", "-l", "warning")
	if err != nil {
		return err
	}
	return s.envoy.Await(ctx, answers("http://"+s.address(portEnvoy)+"/ready"))
}

// KillEnvoy ends Envoy with SIGKILL.
func (s *Stage) KillEnvoy() { s.envoy.Kill() }

// Status reads a JSON document of weir's admin API.
func (s *Stage) Status(ctx context.Context, path string, out any) error {
	return callJSON(ctx, http.MethodGet, "http://"+s.Admin+path, nil, out)
}

// Close ends everything.
func (s *Stage) Close() error {
	var errs []error
	if s.envoy != nil {
		s.envoy.Kill()
	}
	for _, p := range []*Process{s.weir, s.emulator} {
		if p != nil && !p.over() {
			errs = append(errs, p.Stop())
		}
	}
	if s.stopApp != nil {
		s.stopApp()
		errs = append(errs, <-s.appEnded)
	}
	return errors.Join(errs...)
}

// answers asks an address and tells whether it answers 200.
func answers(address string) func(context.Context) bool {
	return func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return callJSON(ctx, http.MethodGet, address, nil, nil) == nil
	}
}
