"""Calls of gost's plugins by the real gRPC: ADDRESS TOKEN, then PATH HEX for each call, over one connection.

A line for each: OK, the reply in hex, milliseconds; or the name of the code, what it says, milliseconds.
"""

import sys
import time

import grpc

address, token, calls = sys.argv[1], sys.argv[2], sys.argv[3:]
channel = grpc.insecure_channel(address)
grpc.channel_ready_future(channel).result(timeout=30)
for path, body in zip(calls[::2], calls[1::2]):
    call = channel.unary_unary(path)
    began = time.monotonic()
    try:
        said = "OK\t" + call(bytes.fromhex(body), timeout=20, metadata=[("token", token)] if token else None).hex()
    except grpc.RpcError as error:
        said = f"{error.code().name}\t{error.details()}"
    print(f"{said}\t{(time.monotonic() - began) * 1000:.0f}", flush=True)
