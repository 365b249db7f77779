// Command node runs one component of a real Kubernetes node, named by its first argument.
//
// It is a binary of its own: whoever only wants the control plane with simulated nodes builds none of this.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) > 1 {
		component := os.Args[1]
		os.Args = os.Args[1:]
		switch component {
		case "kubelet":
			os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
		case "kube-proxy":
			os.Exit(cli.Run(proxy.NewProxyCommand()))
		}
	}
	fmt.Fprintln(os.Stderr, "usage: node {kubelet|kube-proxy} [flag…]")
	os.Exit(2)
}
