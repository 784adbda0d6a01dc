"""Tensors as the Open Inference Protocol sends them: as lists in the JSON, or as bytes after it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod
from reprlib import repr as shown
from typing import Any

import numpy as np
from werkzeug.datastructures import Headers

from service.metadata import Metadata
from service.model import Floats, Model
from service.photo import Pixels
from service.problems import Problem
from service.uploads import read_json

_HEADER_LENGTH = "Inference-Header-Content-Length"  # how many bytes are JSON, where those of tensors follow
_MOST_VALUES = 10_000  # in a request, beside those of its tensor
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}


@dataclass(frozen=True)
class Request:
    """What one inference request asks for.

    Attributes:
        id: the client's name for it, to be given back.
        pixels: uint8 [N, S, S, 3].
        outputs: the names of those wanted, and whether as bytes.
    """

    id: str
    pixels: Pixels
    outputs: dict[str, bool]


def read_request(body: bytes, headers: Headers, model: Model, most: int) -> Request:
    """Read at most so many squares of the model's size, and which of its outputs are wanted; raises Problem."""
    if "Content-Encoding" in headers:
        detail = "The body has a Content-Encoding; send it without one, uncompressed."
        raise Problem(415, "unsupported-media-type", "Unsupported Media Type", detail)
    length = headers.get(_HEADER_LENGTH, str(len(body)))
    if not length.isdecimal() or len(length) > len(str(len(body))) or int(length) > len(body):
        raise _wrong(f"{_HEADER_LENGTH} is {shown(length)}; it must say how many of the {len(body)} bytes are JSON.")
    square = model.size * model.size
    asked = read_json(body[: int(length)], most=_MOST_VALUES + most * square * 4)  # lists of three numbers have four
    pixels = _pixels(asked, body[int(length) :], model.size, most)
    return Request(_member(asked, "id", str, ""), pixels, _outputs(asked, model.outputs))


def write_response(asked: Request, metadata: Metadata, outputs: Mapping[str, Floats]) -> tuple[bytes, dict[str, str]]:
    """Return the body and its headers; outputs are little-endian."""
    described, binary = [], b""
    for name, as_bytes in asked.outputs.items():
        data = outputs[name].tobytes()
        sent = {"parameters": {"binary_data_size": len(data)}} if as_bytes else {"data": outputs[name].ravel().tolist()}
        described.append({"name": name, "datatype": "FP32", "shape": outputs[name].shape} | sent)
        binary += data if as_bytes else b""
    answer = {"model_name": metadata.name, "model_version": metadata.version, "outputs": described}
    text = json.dumps(answer | ({"id": asked.id} if asked.id else {})).encode()
    if not binary:
        return text, {"Content-Type": "application/json"}
    return text + binary, {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(text))}


def _wrong(detail: str) -> Problem:
    return Problem(400, "bad-inference-request", "The inference request can't be used", detail)


def _member(of: Any, key: str, kind: type, default: Any = None) -> Any:
    if type(of) is not dict:
        raise _wrong(f"The request has {shown(of)} where an object with the member {key} must be.")
    value = default if of.get(key) is None else of[key]  # some clients write null for what they leave out
    if type(value) is not kind:
        raise _wrong(f"The member {key} is {shown(value)}; it must be {_KINDS[kind]}.")
    return value


def _pixels(asked: Any, binary: bytes, size: int, most: int) -> Pixels:
    inputs = _member(asked, "inputs", list)
    if len(inputs) != 1:
        raise _wrong(f"The request has {len(inputs)} inputs; it must have one, 'pixels'.")
    name, datatype = _member(inputs[0], "name", str), _member(inputs[0], "datatype", str)
    shape = _member(inputs[0], "shape", list)
    of_squares = set(map(type, shape)) == {int} and shape[1:] == [size, size, 3]
    if (name, datatype) != ("pixels", "UINT8") or not of_squares or not 1 <= shape[0] <= most:
        raise _wrong(
            f"The input is {shown(name)}, {shown(datatype)} of shape {shown(shape)}; "
            f"it must be 'pixels', 'UINT8' of shape [N, {size}, {size}, 3] with N from 1 to {most}."
        )
    told = _member(inputs[0], "parameters", dict, {}).get("binary_data_size")
    if told is None and not binary:
        binary = _flat(inputs[0].get("data"), shape)
    elif not told == len(binary) == prod(shape):
        follow = f"binary_data_size is {shown(told)} and {len(binary)} bytes follow the JSON"
        raise _wrong(f"The input's {follow}; both must be {prod(shape)} for the shape {shape}.")
    return np.frombuffer(binary, np.uint8).reshape(shape)


def _flat(data: Any, shape: list[int]) -> bytes:
    try:
        for length in shape[1:] if type(data[0]) is list else []:
            if set(map(len, data)) != {length}:
                raise ValueError
            data = list(chain.from_iterable(data))
        if set(map(type, data)) != {int} or len(data) != prod(shape):  # bytes() would take true for 1
            raise ValueError
        return bytes(data)
    except (ValueError, TypeError, LookupError) as error:
        expected = f"{prod(shape)} whole numbers from 0 to 255, in one list or nested as {shape}"
        raise _wrong(f"The input's data can't be used; it must be {expected}.") from error


def _outputs(asked: Any, offered: Collection[str]) -> dict[str, bool]:
    as_bytes = _member(_member(asked, "parameters", dict, {}), "binary_data_output", bool, False)
    outputs: dict[str, bool] = {}
    for output in _member(asked, "outputs", list, []):
        name, parameters = _member(output, "name", str), _member(output, "parameters", dict, {})
        elsewhere = {"classification", "shared_memory_region"} & parameters.keys()
        if name not in offered or name in outputs or elsewhere:
            detail = f"The output {shown(name)} can't be had so; {', '.join(map(repr, offered))} can, each once"
            raise _wrong(f"{detail}, without classification or shared memory.")
        outputs[name] = _member(parameters, "binary_data", bool, as_bytes)
    return outputs or dict.fromkeys(offered, as_bytes)
