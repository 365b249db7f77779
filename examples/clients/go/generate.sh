#!/bin/sh
# Writes the code of the contract into inference/. Needs Go, and protoc; PROTOC names another one, INCLUDE the folder with google/rpc.
set -eu
cd "$(dirname "$0")"
python=../../../.venv/bin/python
PROTOC="${PROTOC:-$python -m grpc_tools.protoc}"
INCLUDE="${INCLUDE:-$($python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')}"
map=Mgameai/inference/v1/inference.proto=gameai.dev/ask/inference
mkdir -p inference plugins
go build -o plugins/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH="$PWD/plugins:$PATH" $PROTOC -I ../../../proto -I "$INCLUDE" \
  --go_out=. --go_opt=module=gameai.dev/ask --go_opt=$map \
  --go-grpc_out=. --go-grpc_opt=module=gameai.dev/ask --go-grpc_opt=$map \
  gameai/inference/v1/inference.proto
