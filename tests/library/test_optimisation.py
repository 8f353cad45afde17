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


@pytest.fixture(params=["fused", "reference"])
def kernel(request, monkeypatch):
    if request.param == "fused":
        pytest.importorskip("numba")
    monkeypatch.setenv("SCHEMENETS_KERNEL", request.param)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("rates", [[1.0], [1.0, 0.1]], ids=["one_rate", "rates"])
def test_adam_is_that_of_torch(rates, dtype, tolerance):
    """For gradients of any size, with one learning rate for all networks or one for each of them."""
    arguments = {"blocks": 2, "filters": 3, "kernel_size": 3, "flux": "perona_malik"}
    ours = networks.stack([networks.build("symmetric", **arguments, seed=seed).to(dtype) for seed in (0, 1)])
    adam, generator = Adam(ours), torch.Generator().manual_seed(0)
    theirs = [torch.nn.Parameter(row.clone()) for row in adam.values]
    optimisers = [torch.optim.Adam([row]) for row in theirs]
    for number in range(1, 30):
        rate = 0.01 * number * torch.tensor(rates, dtype=dtype)
        gradient = torch.randn(adam.values.shape, generator=generator, dtype=dtype) * 10.0 ** (number % 9 - 6)
        adam.gradient.copy_(gradient)
        adam.step(number, rate[:, None] if len(rates) > 1 else rate.item())
        for optimiser, row, own_gradient, own_rate in zip(optimisers, theirs, gradient, rate.expand(2), strict=True):
            row.grad = own_gradient
            optimiser.param_groups[0]["lr"] = own_rate.item()
            optimiser.step()
        torch.testing.assert_close(adam.values, torch.stack(theirs).detach(), rtol=tolerance, atol=tolerance)
    values = torch.cat([parameter.reshape(2, -1) for parameter in ours.parameters()], 1)
    assert torch.equal(adam.values, values)


@pytest.mark.usefixtures("kernel")
def test_weights_without_a_gradient_stay_as_they_are():
    stacked = networks.stack([networks.build("resnet", blocks=2, filters=2, kernel_size=3, flux="relu")])
    adam, before = Adam(stacked), [parameter.clone() for parameter in stacked.parameters()]
    adam.gradient.fill_(1.0)  # of an earlier step
    used = list(stacked.blocks[0].parameters())
    adam.differentiate(sum(parameter.sum() for parameter in used))
    adam.step(1, 0.1)
    same = [torch.equal(old, new) for old, new in zip(before, stacked.parameters(), strict=True)]
    assert same == [False] * len(used) + [True] * (len(before) - len(used))


def test_parameters_are_views_of_the_values_and_so_are_those_of_all_blocks_together():
    """Of blocks that are alike; the derivatives by both are at the same places of the gradient."""
    nets = [networks.build("resnet", blocks=3, filters=2, kernel_size=3, flux="relu", channels=2) for _ in range(2)]
    stacked = networks.stack(nets)
    adam = Adam(stacked)
    adam.values.copy_(torch.randn(adam.values.shape, generator=torch.Generator().manual_seed(0)))
    together = list(adam.blocks.parameters())
    for index, block in enumerate(stacked.blocks):
        for own, part in zip(block.parameters(), together, strict=True):
            assert torch.equal(own, part[:, index])
    assert sum(p.numel() for p in stacked.parameters()) == adam.values.numel()

    def cubes(parameters):
        return sum((p**3).sum() for p in parameters)

    adam.differentiate(cubes(stacked.parameters()))
    single = adam.gradient.clone()
    torch.testing.assert_close(single, 3 * adam.values**2)
    adam.gradient.zero_()
    adam.differentiate(cubes([*together, stacked.lift, stacked.projection]), together=True)
    assert torch.equal(adam.gradient, single)
    weights = torch.randn(together[0].shape, generator=torch.Generator().manual_seed(1))
    adam.differentiate(together[0].sin(), weights, together=True)
    torch.testing.assert_close(adam.gradient.sum(), (weights * together[0].cos()).sum().detach())
    adam.differentiate(stacked.lift, torch.ones(2, 2))
    assert adam.gradient.sum() == 4


def test_blocks_of_different_shapes_are_not_taken_together():
    stacked = networks.stack([networks.build("unet", blocks=2, filters=2, kernel_size=3, flux="relu")])
    adam = Adam(stacked)
    assert adam.blocks is None
    adam.differentiate(sum((p**2).sum() for p in stacked.parameters()), together=True)
    torch.testing.assert_close(adam.gradient, 2 * adam.values)
