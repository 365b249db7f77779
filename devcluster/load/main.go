// Command load asks a gateway as fast as it answers and prints what it saw as JSON: over HTTP as the peers are asked, or
// over one gRPC stream or in unary calls as ours is. Messages are prepared; a window bounds what is open.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

var (
	kind    = flag.String("kind", "http", "http, stream or unary")
	address = flag.String("address", "", "host:port")
	file    = flag.String("messages", "", "http: a body; else messages, each after its length in 4 bytes")
	window  = flag.Int("window", 32, "messages that are open at once")
	paced   = flag.Bool("interactive", false, "stream: wait for answers one by one, as a game does, and not for half of the window")
	seconds = flag.Float64("seconds", 3, "how long")
)

type result struct {
	Answers int     `json:"answers"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
}

func main() {
	flag.Parse()
	content, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	began := time.Now()
	end := began.Add(time.Duration(*seconds * float64(time.Second)))
	var answers int
	var times []time.Duration
	switch *kind {
	case "http":
		answers, times = overHTTP(content, end)
	case "unary":
		answers, times = unary(split(content), end)
	default:
		answers, times = stream(split(content), end)
	}
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	found := result{Answers: answers, Seconds: time.Since(began).Seconds()}
	if len(times) > 0 {
		found.P50 = float64(times[len(times)/2].Microseconds()) / 1000
		found.P99 = float64(times[len(times)*99/100].Microseconds()) / 1000
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func split(content []byte) [][]byte {
	var found [][]byte
	for len(content) > 0 {
		size := binary.BigEndian.Uint32(content)
		found = append(found, content[4:4+size])
		content = content[4+size:]
	}
	return found
}

type raw struct{}

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = bytes.Clone(data)
	return nil
}
func (raw) Name() string { return "proto" }

func dial() *grpc.ClientConn {
	connection, err := grpc.NewClient(*address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

// How many questions a frame has, or answers: its fields of number 1. A fault among answers ends the run.
func count(message []byte, answers bool) int {
	found := 0
	for len(message) > 0 {
		number, form, size := protowire.ConsumeTag(message)
		message = message[size:]
		if number == 1 && form == protowire.BytesType {
			answer, size := protowire.ConsumeBytes(message)
			if answers {
				refuseFaults(answer)
			}
			found++
			message = message[size:]
			continue
		}
		message = message[protowire.ConsumeFieldValue(number, form, message):]
	}
	return found
}

func refuseFaults(answer []byte) {
	for len(answer) > 0 {
		number, form, size := protowire.ConsumeTag(answer)
		answer = answer[size:]
		if number == 3 {
			log.Fatalf("a question was answered by a fault: %q", answer)
		}
		answer = answer[protowire.ConsumeFieldValue(number, form, answer):]
	}
}

func stream(messages [][]byte, end time.Time) (int, []time.Duration) {
	connection := dial()
	defer connection.Close()
	call, err := connection.NewStream(context.Background(),
		&grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/gameai.inference.v1.InferenceService/StreamAnswers")
	if err != nil {
		log.Fatal(err)
	}
	perMessage := count(messages[0], false)
	open := make(chan time.Time, *window)
	var times []time.Duration
	var answers, waiting int
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			var message []byte
			if err := call.RecvMsg(&message); err == io.EOF {
				return
			} else if err != nil {
				log.Fatal(err)
			}
			got := count(message, true)
			answers += got
			// Answers of a frame may come apart; a message is over when as many came as it had questions.
			for waiting += got; waiting >= perMessage; waiting -= perMessage {
				times = append(times, time.Since(<-open))
			}
		}
	}()
	for at := 0; time.Now().Before(end); at++ {
		open <- time.Now()
		if err := call.SendMsg(&messages[at%len(messages)]); err != nil {
			log.Fatal(err)
		}
		sent.Add(1)
		for !*paced && len(open) == cap(open) && cap(open) > 1 && len(open) > cap(open)/2 {
			time.Sleep(20 * time.Microsecond)
		}
	}
	if err := call.CloseSend(); err != nil {
		log.Fatal(err)
	}
	<-done
	return answers, times
}

func unary(messages [][]byte, end time.Time) (int, []time.Duration) {
	connection := dial()
	defer connection.Close()
	return workers(end, func(at int) error {
		var answer []byte
		return connection.Invoke(context.Background(), "/gameai.inference.v1.InferenceService/GenerateAnswer", &messages[at%len(messages)], &answer)
	})
}

func workers(end time.Time, ask func(int) error) (int, []time.Duration) {
	var all []time.Duration
	var lock sync.Mutex
	var group sync.WaitGroup
	for worker := range *window {
		group.Go(func() {
			var times []time.Duration
			for at := worker; time.Now().Before(end); at += *window {
				began := time.Now()
				if err := ask(at); err != nil {
					log.Fatal(err)
				}
				times = append(times, time.Since(began))
			}
			lock.Lock()
			all = append(all, times...)
			lock.Unlock()
		})
	}
	group.Wait()
	return len(all), all
}

func overHTTP(body []byte, end time.Time) (int, []time.Duration) {
	request := []byte(fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", *address, len(body), body))
	pool := make(chan *client, *window)
	for range *window {
		connection, err := net.Dial("tcp", *address)
		if err != nil {
			log.Fatal(err)
		}
		pool <- &client{connection, bufio.NewReaderSize(connection, 16<<10)}
	}
	return workers(end, func(int) error {
		one := <-pool
		defer func() { pool <- one }()
		if _, err := one.connection.Write(request); err != nil {
			return err
		}
		return one.read()
	})
}

type client struct {
	connection net.Conn
	reader     *bufio.Reader
}

// Read a whole reply; anything but 200 is an error.
func (c *client) read() error {
	status, err := c.reader.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.Contains(status, " 200 ") {
		return fmt.Errorf("answered %s", status)
	}
	length, chunked := 0, false
	for {
		line, err := c.reader.ReadString('\n')
		if err != nil {
			return err
		}
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(line)), ":")
		switch {
		case name == "content-length":
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		case name == "transfer-encoding":
			chunked = true
		case name == "":
			if chunked {
				return c.chunks()
			}
			_, err := c.reader.Discard(length)
			return err
		}
	}
}

func (c *client) chunks() error {
	for {
		line, err := c.reader.ReadString('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return err
		}
		if _, err := c.reader.Discard(int(size) + 2); err != nil || size == 0 {
			return err
		}
	}
}
