"""The response to a host challenge by gRPC, without a key and without reading a message."""

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from kernel.host_challenge import CHALLENGE, GRPC_NAME, GRPC_SERVICE, METADATA, HostChallenges
from services.ingest.api.grpc.server import Context, Handler, metadata_value


def host_challenge_handler(challenges: HostChallenges) -> grpc.GenericRpcHandler:
    async def respond(_: object, context: Context) -> Message:
        challenge = metadata_value(context, METADATA)
        if not CHALLENGE.fullmatch(challenge):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{METADATA} is no challenge")
        return StringValue(value=challenges.response_to(challenge))

    method: Handler = grpc.unary_unary_rpc_method_handler(
        respond, None, StringValue.SerializeToString
    )
    return grpc.method_handlers_generic_handler(GRPC_SERVICE, {GRPC_NAME: method})
