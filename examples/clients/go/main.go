// Command ask asks one NPC through a gateway, as a game server in Go does: one stream, a deadline, a default of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "gameai.dev/ask/inference"
)

var (
	address   = flag.String("address", "127.0.0.1:50051", "gateway, host:port")
	world     = flag.String("world", "harbor/port", "namespace/name of the world")
	token     = flag.String("token-file", "", "token of the game server's account")
	ca        = flag.String("ca-file", "", "certificate authority of the gateways; without it connections are not encrypted")
	archetype = flag.String("archetype", "shopkeeper", "archetype of the NPC")
	deadline  = flag.Duration("deadline", 500*time.Millisecond, "time for the answer")
)

func main() {
	flag.Parse()
	text, source := ask("reaction", *archetype, "anna", strings.Join(flag.Args(), " "))
	fmt.Println(text, source)
}

// ask returns the answer and its source. Without an answer in time it returns a default.
func ask(role, archetype, npc, prompt string) (string, string) {
	began := time.Now()
	connection, err := grpc.NewClient("dns:///"+*address, grpc.WithTransportCredentials(transport()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), *deadline)
	defer cancel()
	stream, err := pb.NewInferenceServiceClient(connection).StreamAnswers(authorized(ctx))
	if err != nil {
		return missed(err)
	}
	question := &pb.Question{
		Id: 1, Role: role, Archetype: archetype, Npc: npc,
		Input:      &pb.Question_Prompt{Prompt: &pb.Prompt{Parts: []string{prompt}}},
		DeadlineMs: uint32(deadline.Milliseconds()),
		ElapsedUs:  uint32(time.Since(began).Microseconds()),
	}
	if err := stream.Send(&pb.StreamAnswersRequest{World: *world, Questions: []*pb.Question{question}}); err != nil && err != io.EOF {
		return missed(err)
	}
	for {
		frame, err := stream.Recv()
		if err != nil {
			return missed(err)
		}
		for _, answer := range frame.Answers {
			if failed := answer.GetError(); failed != nil {
				return missed(errors.New(failed.Message))
			}
			if !answer.Provisional {
				return answer.GetText(), strings.TrimPrefix(answer.Source.String(), "SOURCE_")
			}
		}
	}
}

func missed(err error) (string, string) {
	log.Print(err)
	return "greet", "OWN_DEFAULT"
}

func transport() credentials.TransportCredentials {
	if *ca == "" {
		return insecure.NewCredentials()
	}
	found, err := credentials.NewClientTLSFromFile(*ca, "")
	if err != nil {
		log.Fatal(err)
	}
	return found
}

func authorized(ctx context.Context) context.Context {
	if *token == "" {
		return ctx
	}
	// Read for each stream: the kubelet renews it.
	content, err := os.ReadFile(*token)
	if err != nil {
		log.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(content)))
}
