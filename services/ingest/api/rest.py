"""Everything but the hot POST: FastAPI, with one file per resource."""

from fastapi import FastAPI, Response
from fastapi import Request as Incoming

from kernel import auth
from services.ingest.api import answers
from services.ingest.api.gate import Caller, Gate, within
from services.ingest.api.http import Request
from services.ingest.api.sending import Sending
from services.ingest.domain.problem import Problem


class Admission:
    """For routes: who calls, with the figures of its limit in the answer."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def caller(self, incoming: Incoming, scope: str = auth.FULL_ACCESS) -> Caller:
        """Raises Problem."""
        request: Request = incoming.scope["state"]["obm_request"]
        caller, quota = await self._gate.admit(
            request.header(b"authorization"), request.client, scope=scope
        )
        incoming.scope["state"]["obm_headers"] += answers.quota_headers(quota)
        within(quota)
        return caller


def rest(gate: Gate, sending: Sending) -> FastAPI:
    app = FastAPI(title="OBM Engine", version="1")
    admission = Admission(gate)

    @app.exception_handler(Problem)
    async def refused(incoming: Incoming, problem: Problem) -> Response:
        request: Request = incoming.scope["state"]["obm_request"]
        body = answers.problem_body(problem, path=request.path, request_id=request.id)
        headers = answers.problem_headers(problem, request.header(b"accept"))
        return Response(body, problem.status, {k.decode(): v.decode() for k, v in headers})

    @app.post("/v1/emails/batch", status_code=202)
    async def send_batch(incoming: Incoming) -> Response:
        caller = await admission.caller(incoming, auth.SENDING_ACCESS)
        body, headers = await sending.send_batch(
            incoming.scope["state"]["obm_request"], caller, incoming.receive
        )
        return Response(body, 202, {k.decode(): v.decode() for k, v in headers})

    return app
