"""A client that Tollgate's authors did not write the stack of: grpcio, with stubs generated from
proto/ at run time. Plays reserve, commit, denial and error details, and exits non-zero where an
answer is not what the contract promises.

Usage: client.py PROTO_DIR STUBS_DIR TARGET ACCOUNT
"""

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


def expect(what, expected, got):
    if expected != got:
        raise SystemExit(f"{what}: expected {expected!r}, got {got!r}")
    print(f"ok: {what} = {got!r}")


def main(proto_dir, stubs_dir, target, account):
    generate(proto_dir, stubs_dir)
    from tollgate.v1 import admin_pb2, admin_pb2_grpc, credits_pb2, quota_pb2, quota_pb2_grpc

    # Over a Unix socket grpcio sends an authority that HTTP/2 servers refuse: name one.
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(target, options=options) as channel:
        quota = quota_pb2_grpc.QuotaServiceStub(channel)
        admin = admin_pb2_grpc.AdminServiceStub(channel)
        admin.CreateAccount(
            admin_pb2.CreateAccountRequest(account_id=account, plan_id="free"), timeout=10)
        action = credits_pb2.Action(
            mode="discuss", model="claude-haiku-4-5", conversation_id=f"conv-{account}")
        estimate = credits_pb2.Usage(input_tokens=20_000, output_tokens=20_000)

        reserve = quota_pb2.ReserveRequest(
            account_id=account, reservation_id="chat-1", action=action, estimate=estimate)
        held = quota.Reserve(reserve, timeout=10)
        expect("result", "reservation", held.WhichOneof("result"))
        expect("held", 12, held.reservation.held)
        expect("max_output_tokens", 20_000, held.reservation.max_output_tokens)
        expect("available", 38, held.balance.available)
        expect("replayed", True, quota.Reserve(reserve, timeout=10).replayed)

        used = credits_pb2.Usage(input_tokens=20_000, output_tokens=4_200)
        commit = quota_pb2.CommitRequest(account_id=account, reservation_id="chat-1", usage=used)
        receipt = quota.Commit(commit, timeout=10).receipt
        expect("charged", 5, receipt.credits)
        expect("returned", 7, receipt.returned)
        expect("exact", "4.1", receipt.price.exact.rstrip("0"))
        expect("replayed", True, quota.Commit(commit, timeout=10).replayed)

        denied = quota.Reserve(
            quota_pb2.ReserveRequest(
                account_id=account, reservation_id="chat-2", action=action, credits=46),
            timeout=10)
        expect("result", "denial", denied.WhichOneof("result"))
        expect("reason", credits_pb2.DENIAL_REASON_INSUFFICIENT_CREDITS, denied.denial.reason)
        expect("required", 46, denied.denial.required)
        expect("available", 45, denied.denial.available)
        remedies = [remedy.WhichOneof("remedy") for remedy in denied.denial.remedies]
        expect("remedies", ["buy_pack", "upgrade_plan", "wait_for_renewal"], remedies)

        wrong = credits_pb2.Action(mode="guess", model="claude-haiku-4-5")
        expect_error(
            quota.Reserve,
            quota_pb2.ReserveRequest(account_id="no spaces", action=wrong, credits=1),
            grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST", {"account_id", "action.mode"})
        expect_error(
            quota.Quote,
            quota_pb2.QuoteRequest(action=wrong, estimate=estimate),
            grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST", {"action.mode"})
        expect_error(
            quota.GetBalance,
            quota_pb2.GetBalanceRequest(account_id="nobody"),
            grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND", set())
        told = admin.GetConversation(
            admin_pb2.GetConversationRequest(conversation_id=f"conv-{account}"), timeout=10)
        expect("conversation credits", 5, told.credits)
        expect("conversation output tokens", 4_200, told.usage.output_tokens)
    print("played")


def expect_error(call, request, code, reason, fields):
    try:
        call(request, timeout=10, metadata=[("x-request-id", f"py-{reason}")])
    except grpc.RpcError as error:
        expect("code", code, error.code())
        found, violations, request_id = None, set(), None
        for detail in rpc_status.from_call(error).details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            about = error_details_pb2.RequestInfo()
            if detail.Unpack(info):
                found = info.reason
            elif detail.Unpack(bad):
                violations = {violation.field for violation in bad.field_violations}
            elif detail.Unpack(about):
                request_id = about.request_id
        expect("request id", f"py-{reason}", request_id)
        expect("reason", reason, found)
        expect("fields", fields, violations)
        return
    raise SystemExit(f"expected {code}, got an answer")


if __name__ == "__main__":
    main(*sys.argv[1:5])
