"""The protobuf messages of GOST's plugins, with classes made at run time (PROTOCOL.md, plugins over gRPC).

Knows: the names of each message's fields, in the order of their numbers from 1.
Refuses to know: how a message is sent (plugin_grpc), what it means (plugin_client).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

_MESSAGES = {
    "GetRouteRequest": "dst id",
    "GetRouteReply": "dst gateway",
    "GetRuleRequest": "host service",
    "GetRuleReply": "endpoint",
    "AuthenticateRequest": "username password client service client_cn client_san* client_cert_fingerprint",
    "AuthenticateReply": "ok? id",
    "AdmitRequest": "addr service network",
    "AdmitReply": "ok?",
    "ObserveRequest": "events*:Event",
    "Event": "kind service client type stats:Stats status:State",
    "Stats": "totalConns^ currentConns^ inputBytes^ outputBytes^ totalErrs^",
    "State": "state msg",
    "ObserveReply": "ok?",
    "SelectRequest": "network addr host client path src",
    "SelectReply": "node=",
    "LimitRequest": "network addr client src service scope",
    "LimitReply": "in# out#",
    "RegisterRequest": "service:Service",
    "RegisterReply": "ok?",
    "RenewRequest": "service:Service",
    "RenewReply": "ok?",
    "DeregisterRequest": "service:Service",
    "DeregisterReply": "ok?",
    "GetRequest": "name",
    "GetReply": "services*:Service",
    "Service": "id name node network address",
}
"""Message -> its fields. `name` is a string, `name?` a bool, `name*` a repeated string, `name=` bytes,
`name#` an int64, `name^` a uint64, `name:Message` a message, `name*:Message` repeated messages."""


def encode(name: str, fields: Mapping[str, object]) -> bytes:
    """Encode the message `name` with these fields; those not given are empty. Raises ValueError.

    A message in a message is a mapping of its fields.
    """
    message = _classes()[name](**fields)
    encoded: bytes = message.SerializeToString()
    return encoded


def decode(name: str, data: bytes) -> dict[str, object]:
    """Decode the message `name`; returns all its fields, defaults for those not sent. Raises ValueError."""
    from google.protobuf.message import DecodeError

    message = _classes()[name]()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"not a {name}: {error}") from error
    return {field.name: _value(getattr(message, field.name), field) for field in message.DESCRIPTOR.fields}


def _value(value: Any, field: Any) -> object:
    """A field's value; of repeated messages a list of their fields."""
    if field.message_type is None:
        return value
    return [{inner.name: getattr(one, inner.name) for inner in one.DESCRIPTOR.fields} for one in value]


@cache
def _classes() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    types = {"?": kind.TYPE_BOOL, "=": kind.TYPE_BYTES, "#": kind.TYPE_INT64, "^": kind.TYPE_UINT64}
    file = descriptor_pb2.FileDescriptorProto(name="plugin.proto", package="proto", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields.split(), 1):
            field, _, inner = text.partition(":")
            message.field.add(
                name=field.rstrip("?*=#^"),
                number=number,
                type=kind.TYPE_MESSAGE if inner else types.get(field[-1], kind.TYPE_STRING),
                type_name=f".proto.{inner}" if inner else None,
                label=kind.LABEL_REPEATED if field.endswith("*") else kind.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"proto.{name}"))
        for name in _MESSAGES
    }
