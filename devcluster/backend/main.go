// Command backend answers every chat completion at once with the same body: what stands behind the gateways that
// benchmarks compare, so that nothing is measured but them.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
)

const completion = `{"id":"chatcmpl-0","object":"chat.completion","created":1,"model":"gold","choices":[{"index":0,` +
	`"message":{"role":"assistant","content":"A","refusal":null,"annotations":null,"audio":null,"function_call":null,` +
	`"reasoning":null},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],` +
	`"usage":{"prompt_tokens":40,"total_tokens":41,"completion_tokens":1,"prompt_tokens_details":null}}`

const models = `{"object":"list","data":[{"id":"gold","object":"model","created":1,"owned_by":"vllm","root":"gold","max_model_len":4096}]}`

func reply(body string) []byte {
	return []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", len(body), body))
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %d\n", listener.Addr().(*net.TCPAddr).Port)
	os.Stdout.Sync()
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(connection)
	}
}

func serve(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 64<<10)
	answer, list, empty := reply(completion), reply(models), reply("{}")
	for {
		line, length, err := head(reader)
		if err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, reader, length); err != nil {
			return
		}
		body := empty
		if bytes.Contains(line, []byte("/completions")) {
			body = answer
		} else if bytes.Contains(line, []byte("/v1/models")) {
			body = list
		}
		if _, err := connection.Write(body); err != nil {
			return
		}
	}
}

// The request's first line, and the length of its body.
func head(reader *bufio.Reader) ([]byte, int64, error) {
	first, err := reader.ReadSlice('\n')
	if err != nil {
		return nil, 0, err
	}
	line := bytes.Clone(first)
	length := int64(0)
	for {
		field, err := reader.ReadSlice('\n')
		if err != nil {
			return nil, 0, err
		}
		if len(field) <= 2 {
			return line, length, nil
		}
		name, value, _ := strings.Cut(string(field), ":")
		if strings.EqualFold(name, "content-length") {
			length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return nil, 0, err
			}
		}
	}
}
