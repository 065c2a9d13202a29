// Command registrar tells kubelet of a CSI driver that does not do so itself, as node-driver-registrar does:
//
//	registrar NAME ENDPOINT SOCKET       e.g. secrets-store.csi.k8s.io /var/lib/kubelet/plugins/x/csi.sock /registration/x-reg.sock
package main

import (
	"context"
	"log"
	"net"
	"os"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

type plugin struct{ name, endpoint string }

func (p plugin) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: p.name, Endpoint: p.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

func (p plugin) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered { // kubelet asks again when this socket is made anew
		log.Fatal(status.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

func main() {
	socket := os.Args[3]
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, plugin{os.Args[1], os.Args[2]})
	log.Fatal(server.Serve(listener))
}
