"""Devices as data: what JSON, records, fingerprints and messages hold of them follows from the fields."""

from dataclasses import dataclass, fields, replace

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from hal.api import BackendStatus
from hal.cli.commands._devices_view import device_json
from hal.contract import Available
from hal.contract.device import Capabilities, Device, DeviceFacts, Hardware, Precision
from hal.job.stored_plans import Fingerprint


@dataclass(frozen=True)
class MoreCapabilities(Capabilities):
    graphs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MoreFacts(DeviceFacts):
    socket: int | None = None


@dataclass(frozen=True, kw_only=True)
class MoreDevice(MoreFacts, Device):
    capabilities: MoreCapabilities
    __hash__ = Device.__hash__


class Message(BaseModel):
    device: Device
    record: DeviceFacts


class MoreMessage(BaseModel):
    device: MoreDevice
    record: MoreFacts


def device(cls=Device, can=Capabilities, **more):
    capabilities = can({"fp32": Precision(True, note="exact")}, algorithms={"conv": ("direct",)}, threads=True)
    about = {"backend": "fake", "kind": "fast", "index": 1, "vendor": "Acme", "name": "Model T", "arch": "t1000"}
    return cls(**about, memory_bytes=4, compute_units=None, facts={"driver": "1"}, capabilities=capabilities, **more)


def test_a_device_crosses_a_pipe_whole():
    here = device()
    sent = Message(device=here, record=DeviceFacts.of(here))
    back = Message.model_validate_json(sent.model_dump_json())
    assert back == sent
    assert hash(back.device) == hash(here)
    assert str(back.device) == str(back.record) == "fake:fast:1"
    for mapping in (back.device.facts, back.record.facts, back.device.capabilities.precisions):
        with pytest.raises(TypeError):
            mapping["fp32"] = "other"


def test_a_new_fact_and_a_new_capability_are_written_once():
    here = device(MoreDevice, MoreCapabilities, socket=3)
    here = replace(here, capabilities=replace(here.capabilities, graphs=("replayed",)))
    sent = MoreMessage(device=here, record=MoreFacts.of(here))
    back = MoreMessage.model_validate_json(sent.model_dump_json())
    assert back == sent
    assert here.to_dict()["capabilities"]["graphs"] == ["replayed"]
    assert (back.device.socket, back.record.socket, back.device.capabilities.graphs) == (3, 3, ("replayed",))


def test_every_field_reaches_the_json_of_devices():
    here = device()
    seen = BackendStatus("fake", Available("fake 1"), (here,))
    (shown,) = device_json((seen,))["backends"][0]["devices"]
    names = {each.name for cls in (Device, Capabilities) for each in fields(cls)} - {"capabilities"}
    assert set(shown) == names | {"device"}
    assert shown["precisions"] == {"fp32": {"supported": True, "accelerated": False, "note": "exact"}}


def test_a_fingerprint_has_every_fact_of_the_hardware():
    assert {each.name for each in fields(Hardware)} == {each.name for each in fields(DeviceFacts)} - {"index"}
    assert {each.name for each in fields(Hardware)} < {each.name for each in fields(Fingerprint)}


@pytest.mark.parametrize("wrong", [{"colour": "red"}, {"index": "first"}])
def test_what_is_no_device(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(Device).validate_python({**device().to_dict(), **wrong})
