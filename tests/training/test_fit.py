"""What the recipe's settings of training do: each against the same steps by bare PyTorch."""

from dataclasses import replace

import pytest
import torch
from torch.nn.utils import clip_grad_norm_
from training_data import classify_document, write_sequences

from rnnport.training.batches import training_batches
from rnnport.training.fit import fit
from rnnport.training.lesson import Lesson
from rnnport.training.model import build_network, set_scaling
from rnnport.training.objective import OBJECTIVES
from rnnport.training.problem import pose
from rnnport.training.recipe import build

RATE = 0.01
BARE = {
    "adam": lambda weights: torch.optim.Adam(weights, RATE),
    "adamw": lambda weights: torch.optim.AdamW(weights, RATE),
    "sgd": lambda weights: torch.optim.SGD(weights, RATE, momentum=0.9, nesterov=True),
    "rmsprop": lambda weights: torch.optim.RMSprop(weights, RATE),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sequences(tmp_path_factory.mktemp("data") / "x.npz")


def recipe_of(data, **train):
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": RATE, **train}
    document = classify_document(data, **settings)
    document["model"] |= {"layers": 1, "dropout": 0.0}
    return build(document, "slopes")


def trained(recipe, folder, on_epoch=lambda history: None):
    folder.mkdir(exist_ok=True)
    return fit(recipe, pose(recipe), folder, device="cpu", on_epoch=on_epoch).network


def bare(recipe, clip=None):
    """The network after the same epoch, by a loop of PyTorch's own; and its largest gradient."""
    problem, losses = pose(recipe), OBJECTIVES["classify"].losses
    with torch.random.fork_rng():
        torch.manual_seed(recipe.train.seed)
        network = build_network(recipe.model, problem.spec)
    set_scaling(network, problem.inputs, problem.targets)
    optimizer, largest = BARE[recipe.train.optimizer](network.parameters()), 0.0
    for batch in training_batches(problem.parts["train"], 16, recipe.train.seed):
        optimizer.zero_grad()
        losses(network, batch)[0].backward()
        norm = clip_grad_norm_(network.parameters(), float("inf") if clip is None else clip)
        largest = max(largest, float(norm))
        optimizer.step()
    return network, largest


def assert_same_weights(one, two):
    weights = two.state_dict()
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("optimizer", BARE)
def test_an_optimizer_steps_as_pytorchs_own(data, tmp_path, optimizer):
    recipe = recipe_of(data, optimizer=optimizer, clip=0.0)
    assert_same_weights(trained(recipe, tmp_path), bare(recipe)[0])


def test_clip_bounds_the_norm_of_the_gradient(data, tmp_path):
    recipe = recipe_of(data, optimizer="sgd", clip=0.05)
    expected, largest = bare(recipe, clip=0.05)
    assert largest > 0.1  # there is something to bound
    assert_same_weights(trained(recipe, tmp_path), expected)
    with pytest.raises(AssertionError):
        assert_same_weights(expected, bare(recipe)[0])


@pytest.mark.parametrize(("checkpoint", "epoch"), [("best", 1), ("last", 3)])
def test_the_weights_kept_are_those_that_the_recipe_asks_for(data, checkpoint, epoch):
    recipe = recipe_of(data, checkpoint=checkpoint)
    problem = pose(recipe)
    network = build_network(recipe.model, problem.spec)
    lesson = Lesson(network, OBJECTIVES["classify"], problem, recipe.train, print)
    for row, loss in enumerate((0.1, 0.3, 0.2)):
        torch.nn.init.constant_(network.head.bias, row + 1)  # the bias tells the epoch
        lesson.history.append({"epoch": row + 1, "validation_loss": loss})
        lesson._remember_best()
    weights, kept = lesson.finished_weights()
    assert kept == epoch
    assert weights["head.bias"].tolist() == [epoch] * 2


def test_threads_hold_while_it_trains_and_no_longer(data, tmp_path):
    before, seen = torch.get_num_threads(), []
    recipe = recipe_of(data, threads=before + 1)
    trained(recipe, tmp_path / "more", lambda history: seen.append(torch.get_num_threads()))
    own = replace(recipe, train=replace(recipe.train, threads=0))
    trained(own, tmp_path / "own", lambda history: seen.append(torch.get_num_threads()))
    assert seen == [before + 1, before]
    assert torch.get_num_threads() == before
