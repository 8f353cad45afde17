"""Adam and its schedule are those of torch.optim."""

import pytest
import torch

from schemenets import networks
from schemenets.optimisation import Adam, one_cycle


@pytest.mark.parametrize("steps", [10, 157, 1000])
def test_learning_rates_are_those_of_torch(steps):
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.02, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        assert one_cycle(step, steps, 0.02) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)
        optimiser.step()
        if step < steps - 1:
            schedule.step()


def test_adam_is_that_of_torch():
    nets = [
        networks.build("symmetric", blocks=2, filters=3, kernel_size=5, flux="perona_malik", seed=seed).double()
        for seed in (0, 1)
    ]
    ours, theirs = networks.stack(nets), networks.stack(nets)
    adam, reference = Adam(ours), torch.optim.Adam(theirs.parameters())
    u = torch.rand(2, 4, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for number in range(1, 30):
        rate = 0.01 * number
        for net in (ours, theirs):
            net(u).square().sum().backward()
        adam.step(adam.gradient(), number, rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        reference.zero_grad()
    for own, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)


def test_weights_without_a_gradient_stay_as_they_are():
    stacked = networks.stack([networks.build("resnet", blocks=2, filters=2, kernel_size=3, flux="relu")])
    adam, before = Adam(stacked), [parameter.clone() for parameter in stacked.parameters()]
    stacked.blocks[0](torch.rand(1, 4, 1, 20)).square().sum().backward()
    adam.step(adam.gradient(), 1, 0.1)
    used = len(list(stacked.blocks[0].parameters()))
    same = [torch.equal(old, new) for old, new in zip(before, stacked.parameters(), strict=True)]
    assert same == [False] * used + [True] * (len(before) - used)
