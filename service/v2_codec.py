"""Reads and writes tensors of the Open Inference Protocol: as lists in the JSON, or as binary data after it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from math import prod
from reprlib import repr as shorten
from typing import Any

import numpy as np
from werkzeug.datastructures import Headers

from service.metadata import Metadata
from service.model import Floats, Model
from service.photo import Pixels
from service.problems import Problem
from service.request_body import MAX_VALUES, read_json

_JSON_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON, before the binary data
_TYPE_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}


@dataclass(frozen=True)
class InferRequest:
    """One inference request.

    Attributes:
        id: the client's identifier, which the response repeats.
        pixels: uint8 [N, S, S, 3].
        outputs: name of each requested output, and whether to send it as binary data.
    """

    id: str
    pixels: Pixels
    outputs: dict[str, bool]


def read_request(body: bytes, headers: Headers, model: Model, max_photos: int) -> InferRequest:
    """Read a request with 1 to `max_photos` squares of the model's size; raises Problem."""
    if "Content-Encoding" in headers:
        detail = "The body has a Content-Encoding; send it uncompressed, without that header."
        raise Problem(415, "unsupported-media-type", "Unsupported Media Type", detail)
    length = headers.get(_JSON_LENGTH, str(len(body)))
    if not length.isdecimal() or len(length) > len(str(len(body))) or int(length) > len(body):
        raise _bad_request(
            f"{_JSON_LENGTH} is {shorten(length)}; it must be the number of JSON bytes, at most {len(body)}."
        )
    # A list of three numbers has four values: the numbers and the list.
    fields = read_json(body[: int(length)], max_values=MAX_VALUES + max_photos * model.size**2 * 4)
    pixels = _pixels(fields, body[int(length) :], model.size, max_photos)
    return InferRequest(_member(fields, "id", str, ""), pixels, _outputs(fields, model.outputs))


def write_response(
    request: InferRequest, metadata: Metadata, outputs: Mapping[str, Floats]
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of the response; the outputs are little-endian float32."""
    tensors, binary = [], b""
    for name, as_binary in request.outputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": outputs[name].shape}
        if as_binary:
            data = outputs[name].tobytes()
            binary += data
            tensors.append(tensor | {"parameters": {"binary_data_size": len(data)}})
        else:
            tensors.append(tensor | {"data": outputs[name].ravel().tolist()})
    fields = {"model_name": metadata.name, "model_version": metadata.version, "outputs": tensors}
    text = json.dumps(fields | ({"id": request.id} if request.id else {})).encode()
    if not binary:
        return text, {"Content-Type": "application/json"}
    return text + binary, {"Content-Type": "application/octet-stream", _JSON_LENGTH: str(len(text))}


def _bad_request(detail: str) -> Problem:
    return Problem(400, "bad-inference-request", "The inference request can't be used", detail)


def _member(container: Any, key: str, kind: type, default: Any = None) -> Any:
    if type(container) is not dict:
        raise _bad_request(f"The request has {shorten(container)} where an object with the member {key} must be.")
    value = default if container.get(key) is None else container[key]  # some clients send null for an absent member
    if type(value) is not kind:
        raise _bad_request(f"The member {key} is {shorten(value)}; it must be {_TYPE_NAMES[kind]}.")
    return value


def _pixels(fields: Any, binary: bytes, size: int, max_photos: int) -> Pixels:
    inputs = _member(fields, "inputs", list)
    if len(inputs) != 1:
        raise _bad_request(f"The request has {len(inputs)} inputs; it must have one, 'pixels'.")
    name, datatype = _member(inputs[0], "name", str), _member(inputs[0], "datatype", str)
    shape = _member(inputs[0], "shape", list)
    is_squares = set(map(type, shape)) == {int} and shape[1:] == [size, size, 3]
    if (name, datatype) != ("pixels", "UINT8") or not is_squares or not 1 <= shape[0] <= max_photos:
        raise _bad_request(
            f"The input is {shorten(name)}, {shorten(datatype)} of shape {shorten(shape)}; "
            f"it must be 'pixels', 'UINT8' of shape [N, {size}, {size}, 3] with N from 1 to {max_photos}."
        )
    binary_size = _member(inputs[0], "parameters", dict, {}).get("binary_data_size")
    if binary_size is None and not binary:
        binary = _flatten(inputs[0].get("data"), shape)
    elif not binary_size == len(binary) == prod(shape):
        raise _bad_request(
            f"The input's binary_data_size is {shorten(binary_size)} and {len(binary)} bytes follow the JSON; "
            f"both must be {prod(shape)} for the shape {shape}."
        )
    return np.frombuffer(binary, np.uint8).reshape(shape)


def _flatten(data: Any, shape: list[int]) -> bytes:
    try:
        for length in shape[1:] if type(data[0]) is list else []:
            if set(map(len, data)) != {length}:
                raise ValueError
            data = list(chain.from_iterable(data))
        if set(map(type, data)) != {int} or len(data) != prod(shape):  # bytes() accepts true as 1
            raise ValueError
        return bytes(data)
    except (ValueError, TypeError, LookupError) as error:
        expected = f"{prod(shape)} whole numbers from 0 to 255, in one list or nested as {shape}"
        raise _bad_request(f"The input's data is invalid; it must be {expected}.") from error


def _outputs(fields: Any, available: Collection[str]) -> dict[str, bool]:
    default = _member(_member(fields, "parameters", dict, {}), "binary_data_output", bool, False)
    outputs: dict[str, bool] = {}
    for output in _member(fields, "outputs", list, []):
        name, parameters = _member(output, "name", str), _member(output, "parameters", dict, {})
        unsupported = {"classification", "shared_memory_region"} & parameters.keys()
        if name not in available or name in outputs or unsupported:
            raise _bad_request(
                f"The output {shorten(name)} is not available in this form; request "
                f"{' or '.join(map(repr, available))}, each once, without classification or shared memory."
            )
        outputs[name] = _member(parameters, "binary_data", bool, default)
    return outputs or dict.fromkeys(available, default)
