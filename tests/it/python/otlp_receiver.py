"""A collector that Tollgate's authors did not write the protocol of: takes traces and metrics over
OTLP/gRPC and writes what came, a JSON object a line. The first line is the port.

Usage: otlp_receiver.py REJECTED_SPANS [KEY_FILE CERTIFICATE_FILE]
"""

import json
import sys
import threading
from concurrent import futures

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

writing = threading.Lock()


def say(what):
    with writing:
        print(json.dumps(what), flush=True)


def pairs(attributes):
    def value(one):
        return getattr(one, one.WhichOneof("value"))

    return {pair.key: value(pair.value) for pair in attributes}


def headers(context):
    return {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, rejected):
        self.rejected = rejected

    def Export(self, request, context):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    say({
                        "span": span.name, "kind": span.kind, "flags": span.flags,
                        "trace_id": span.trace_id.hex(), "span_id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(), "state": span.trace_state,
                        "start": span.start_time_unix_nano, "end": span.end_time_unix_nano,
                        "status": span.status.code, "attributes": pairs(span.attributes),
                        "resource": pairs(resource.resource.attributes),
                        "scope": scope.scope.name, "headers": headers(context),
                    })
        partial = trace_service_pb2.ExportTracePartialSuccess(rejected_spans=self.rejected)
        return trace_service_pb2.ExportTraceServiceResponse(partial_success=partial)


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    data = getattr(metric, kind)
                    for point in data.data_points:
                        say(self.point(metric, kind, data, point, context))
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def point(self, metric, kind, data, point, context):
        said = {
            "metric": metric.name, "unit": metric.unit, "help": metric.description, "kind": kind,
            "attributes": pairs(point.attributes), "start": point.start_time_unix_nano,
            "at": point.time_unix_nano, "headers": headers(context),
        }
        if kind != "gauge":
            said["temporality"] = data.aggregation_temporality
        if kind == "sum":
            said["monotonic"] = data.is_monotonic
        if kind == "histogram":
            said.update(
                count=point.count, sum=point.sum, bounds=list(point.explicit_bounds),
                buckets=list(point.bucket_counts),
                exemplars=[exemplar.trace_id.hex() for exemplar in point.exemplars])
        else:
            said["value"] = getattr(point, point.WhichOneof("value"))
        return said


def listen(server, key_file=None, certificate_file=None):
    if key_file is None:
        return server.add_insecure_port("127.0.0.1:0")
    with open(key_file, "rb") as key, open(certificate_file, "rb") as certificate:
        pair = (key.read(), certificate.read())
    return server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))


def main(rejected, *files):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(rejected), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    port = listen(server, *files)
    server.start()
    say(port)
    server.wait_for_termination()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
