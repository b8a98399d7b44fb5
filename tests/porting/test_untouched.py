"""An export changes nothing: not the module, not torch, and not the next export."""

import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from exported_modules import FEATURES, HIDDEN, Fixed, Keeping, LastStep, Layers, tensors
from torch import nn

from rnnport.errors import UnsupportedModelError
from rnnport.porting.export import export_module

X = tensors(3, 6, FEATURES)
LENGTHS = torch.tensor([4, 6, 2])


class Everything(nn.Module):
    """A module with hooks, buffers that change, batch norm and kept states."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES)
        self.register_buffer("calls", torch.zeros(()))
        self.keeping = Keeping()
        self.classifier = LastStep(nn.GRU)
        self.classifier.eval()
        self.seen = []
        self.keeping.register_forward_hook(lambda *_: None)

    def forward(self, x, lengths):
        self.seen.append("x")
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.keeping(x), self.classifier(x, lengths)


def state_of(module):
    """All that a module is: identities and values of everything it holds."""
    held = {}
    for path, each in module.named_modules():
        held[path] = {
            name: (id(value), list(value) if isinstance(value, list | dict) else value)
            for name, value in each.__dict__.items()
        }
    tensors = {
        name: (id(t), t._version, t.clone())
        for name, t in module.state_dict(keep_vars=True).items()
    }
    return held, tensors


def assert_same(before, after):
    assert before[0].keys() == after[0].keys()
    for path, attributes in before[0].items():
        assert {name: key for name, (key, _) in attributes.items()} == {
            name: key for name, (key, _) in after[0][path].items()
        }
        for name, (_, value) in attributes.items():
            if isinstance(value, list):
                assert [id(one) for one in value] == [id(one) for one in after[0][path][name][1]]
            if isinstance(value, bool):
                assert value == after[0][path][name][1]
    for name, (key, _, value) in before[1].items():
        assert after[1][name][0] == key
        assert torch.equal(after[1][name][2], value)


@pytest.mark.parametrize("stream", [False, True])
def test_the_module_is_what_it_was(tmp_path, stream):
    module = Everything().train()
    module.classifier.eval()
    before = state_of(module)
    check, threads = nn.RNNBase.check_forward_args, torch.get_num_threads()
    export_module(module, (X, LENGTHS), tmp_path / "m.onnx", stream=stream)
    assert_same(before, state_of(module))
    assert nn.RNNBase.check_forward_args is check
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_the_module_is_what_it_was_after_an_error(tmp_path):
    module = nn.Sequential(Fixed()).train()
    before, filters, err = state_of(module), list(warnings.filters), sys.stderr
    checks = [kind.__dict__["check_forward_args"] for kind in (nn.RNNBase, nn.LSTM)]
    with pytest.raises(UnsupportedModelError):
        export_module(module, X, tmp_path / "m.onnx")
    assert_same(before, state_of(module))
    assert [kind.__dict__["check_forward_args"] for kind in (nn.RNNBase, nn.LSTM)] == checks
    assert warnings.filters == filters
    assert sys.stderr is err


def test_exporting_says_nothing(tmp_path, capfd):
    export_module(LastStep(), (X, LENGTHS), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModelError):
        export_module(Fixed(), X, tmp_path / "n.onnx")
    assert capfd.readouterr() == ("", "")


def test_every_export_gives_the_same_bytes_in_threads_too(tmp_path):
    module = nn.Sequential(LastStep().rnn)
    with ThreadPoolExecutor(3) as pool:
        paths = [tmp_path / f"{i}.onnx" for i in range(3)]
        list(pool.map(lambda path: export_module(module, X, path, verify=False), paths))
    export_module(module, X, tmp_path / "alone.onnx", verify=False)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


SCRIPT = """
import sys, torch
from torch import nn
from rnnport.porting.export import export_module
torch.manual_seed(3)
module = nn.GRU(4, 5, 2, batch_first=True)
export_module(module, torch.zeros(2, 3, 4), sys.argv[1], stream=True, verify=False)
"""


@pytest.mark.slow
def test_every_process_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / name)], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.slow
def test_another_thread_runs_modules_meanwhile(tmp_path):
    other = nn.LSTM(FEATURES, HIDDEN, batch_first=True).eval()
    with torch.no_grad():
        expected = other(X)[0]
    done, wrong = threading.Event(), []

    def run():
        while not done.is_set():
            with torch.no_grad():
                if not torch.allclose(other(X)[0], expected, atol=1e-6):
                    wrong.append("different")
            try:
                other(X, (torch.zeros(1, 2, HIDDEN), torch.zeros(1, 2, HIDDEN)))
                wrong.append("unchecked")
            except RuntimeError:
                pass

    thread = threading.Thread(target=run)
    thread.start()
    try:
        export_module(LastStep(), (X, LENGTHS), tmp_path / "m.onnx", verify=False)
    finally:
        done.set()
        thread.join()
    assert wrong == []


def test_no_trace_of_this_machine_is_in_the_file(tmp_path):
    path = tmp_path / "m.onnx"
    export_module(Layers(nn.LSTM, num_layers=2), tensors(6, 3, FEATURES), path, stream=True)
    data = path.read_bytes()
    for word in (
        __file__,
        str(Path(torch.__file__).parent),
        "pkg.torch",
        "Traced",
        "site-packages",
    ):
        assert word.encode() not in data
