"""grpcio over mutual TLS: a certificate says who calls, a token overrules it, a call beyond the
caller's roles is refused with a reason.

Usage: secure.py PROTO_DIR STUBS_DIR FOLDER TARGET
"""

import pathlib
import sys

import grpc
import grpc_tools
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc


def generate(proto_dir, stubs_dir):
    files = [f"{proto_dir}/tollgate/v1/{name}.proto" for name in ("credits", "quota", "admin")]
    include = f"{grpc_tools.__path__[0]}/_proto"
    code = protoc.main(
        ["protoc", f"-I{proto_dir}", f"-I{include}", f"--python_out={stubs_dir}",
         f"--grpc_python_out={stubs_dir}", *files]
    )
    if code != 0:
        raise SystemExit(f"protoc ended with {code}")
    sys.path.insert(0, stubs_dir)


def expect_error(call, request, code, reason, metadata=None):
    try:
        call(request, timeout=10, metadata=metadata)
    except grpc.RpcError as error:
        if error.code() != code:
            raise SystemExit(f"expected {code}, got {error}") from error
        info = error_details_pb2.ErrorInfo()
        found = [info.reason for detail in rpc_status.from_call(error).details
                 if detail.Unpack(info)]
        if found != [reason]:
            raise SystemExit(f"expected {reason}, got {found}") from error
        return
    raise SystemExit(f"expected {code}, got an answer")


def main(proto_dir, stubs_dir, folder, target):
    generate(proto_dir, stubs_dir)
    from tollgate.v1 import admin_pb2, admin_pb2_grpc, quota_pb2, quota_pb2_grpc

    read = lambda name: (pathlib.Path(folder) / name).read_bytes()
    credentials = grpc.ssl_channel_credentials(
        read("ca.crt"), read("runner.key"), read("runner.crt"))
    options = [("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(target, credentials, options=options) as channel:
        quota = quota_pb2_grpc.QuotaServiceStub(channel)
        admin = admin_pb2_grpc.AdminServiceStub(channel)
        create = admin_pb2.CreateAccountRequest(account_id="acme", plan_id="free")
        expect_error(
            admin.CreateAccount, create, grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
        bearer = lambda token: [("authorization", f"Bearer {token}")]
        admin.CreateAccount(create, timeout=10, metadata=bearer(read("billing").decode()))
        balance = quota_pb2.GetBalanceRequest(account_id="acme")
        if quota.GetBalance(balance, timeout=10).balance.available != 50:
            raise SystemExit("another balance than the plan's")
        expect_error(
            quota.GetBalance, balance, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN",
            bearer("tollgate_x"))
    stranger = grpc.ssl_channel_credentials(read("ca.crt"))
    with grpc.secure_channel(target, stranger, options=options) as channel:
        expect_error(
            quota_pb2_grpc.QuotaServiceStub(channel).GetBalance, balance,
            grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
    print("played")


if __name__ == "__main__":
    main(*sys.argv[1:5])
