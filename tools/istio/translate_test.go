// Package istio has Istio's own control plane make Envoy's configuration of what deploy/istio holds.
package istio

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"sigs.k8s.io/yaml"
)

// around is what is there besides: weir's Service, and a gateway with one route.
const around = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: weir, namespace: weir}
spec:
  hosts: [weir.weir.svc.cluster.local]
  ports: [{number: 9001, name: grpc, protocol: GRPC}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: acme, namespace: istio-ingress}
spec:
  selector: {istio: ingress}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
`

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/istio/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheGatewaysEnvoyStripsAsksAndLogs(t *testing.T) {
	var values struct{ MeshConfig any }
	if err := yaml.Unmarshal([]byte(read(t, "mesh-values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(values.MeshConfig)
	if err != nil {
		t.Fatal(err)
	}
	config, err := mesh.ApplyMeshConfigDefaults(string(text))
	if err != nil {
		t.Fatal(err)
	}
	s := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{ConfigString: around + read(t, "weir.yaml"), MeshConfig: config})
	labels := map[string]string{"istio": "ingress"}
	p := s.SetupProxy(&model.Proxy{
		Type: model.Router, IPAddresses: []string{"10.9.9.9"}, ConfigNamespace: "istio-ingress", Labels: labels,
		Metadata: &model.NodeMetadata{Labels: labels, Namespace: "istio-ingress"},
	})
	var all strings.Builder
	for _, l := range s.Listeners(p) {
		write(t, &all, l)
	}
	for _, c := range s.Clusters(p) {
		write(t, &all, c)
	}
	rest := all.String()
	for _, want := range []string{ // in this order
		`"name":"strip-client-x-weir"`, `"removeOnMatch":{"keyMatcher":{"prefix":"x-weir-"}}`,
		`ext_authz.v3.ExtAuthz"`, `"clusterName":"outbound|9001||weir.weir.svc.cluster.local"`, `"timeout":"0.500s"`, `"statusOnError":{"code":"ServiceUnavailable"}`,
		`"name":"envoy.filters.http.router"`,
		`"expression":"'check' in metadata.filter_metadata['envoy.filters.http.ext_authz']"`,
		`HttpGrpcAccessLogConfig"`, `"clusterName":"outbound|9001||weir.weir.svc.cluster.local"`,
		`"additionalResponseHeadersToLog":["grpc-status"]`, `"additionalResponseTrailersToLog":["grpc-status"]`,
		`"accessLogFlushInterval":"60s"`, `"mergeSlashes":true`,
		`"name":"outbound|9001||weir.weir.svc.cluster.local"`, `"http2ProtocolOptions":{}`,
		`"name":"kubernetes://weir-client"`, `"exact":"weir.weir.svc.cluster.local"`, `"name":"kubernetes://weir-client-cacert"`,
		`"sni":"weir.weir.svc.cluster.local"`,
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("there is no %s in\n%s", want, rest)
		}
		rest = after
	}
	if strings.Contains(all.String(), `"failureModeAllow":true`) {
		t.Error("requests pass while weir is away")
	}
}

// write adds a message as JSON without spaces, which protojson else varies.
func write(t *testing.T, all *strings.Builder, m proto.Message) {
	t.Helper()
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, text); err != nil {
		t.Fatal(err)
	}
	all.Write(plain.Bytes())
	all.WriteByte('\n')
}
