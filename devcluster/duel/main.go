// Command duel is a game service of somebody else: another language, another image, and of ours it knows only that
// a service answers grpc.health.v1. Worlds run it as an own image.
package main

import (
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	address := ":7000"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	// A world gives an own image folders that it may write to, and nothing else.
	if err := os.WriteFile("/var/cache/duel/started", []byte(time.Now().String()), 0o600); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	server, checks := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, checks)
	checks.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		checks.Shutdown()
		server.GracefulStop()
	}()
	log.Printf("serving on %s in world %s", address, os.Getenv("GAMEAI_WORLD"))
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
