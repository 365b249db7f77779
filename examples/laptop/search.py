"""Asks the memory a question: search.py QUESTION [WORLD] [ADDRESS]. A memory in a cluster wants a token in MEMORY_TOKEN."""

import os
import sys

import grpc
from gameai.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc


def main(question: str, world: str = "", address: str = "127.0.0.1:50051") -> None:
    with grpc.insecure_channel(address) as channel:
        stub = knowledge_pb2_grpc.KnowledgeServiceStub(channel)
        request = knowledge_pb2.SearchRequest(text=question, world=world, count=3)
        token = os.environ.get("MEMORY_TOKEN")
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        for hit in stub.Search(request, timeout=5, metadata=metadata).hits:
            where = hit.provenance
            print(f"{where.document} > {where.section} (similarity {hit.similarity:.2f})")
            print(f"    {hit.content}\n")


main(*sys.argv[1:])
