"""A sweep on two real Ray nodes of one machine, one of which is killed in mid-sweep."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sweeps_on_ray import BAD, CONFIGS, slow_square
from unmask_experiments.sweeps import SweepError, identify, read_run, sweep

pytest.importorskip("ray")

from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch):
    places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]  # the nodes need the function that they run
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


def outcomes(folder):
    records = [read_run(path) for path in sorted(folder.glob("*.json"))]
    return {one["name"]: (one["config"], one["result"], one["error"] and one["error"]["message"]) for one in records}


@pytest.mark.filterwarnings("ignore")  # Ray's own, at its shutdown
def test_a_node_that_is_killed_costs_no_record_and_none_is_made_twice(cluster, tmp_path):
    lost = cluster.add_node(num_cpus=1)
    alone, shared = tmp_path / "work alone", tmp_path / "work"
    for place in (alone, shared):
        place.mkdir()
    (alone / "go").touch()
    sweep(slow_square, [*CONFIGS, BAD], folder=tmp_path / "alone", work=alone)

    def kill(share):
        at_work = len(list(shared.glob("*/began")))
        if at_work == 2 and lost in cluster.worker_nodes:  # one on each node
            cluster.remove_node(lost, allow_graceful=False)
            time.sleep(2)  # until its processes have noticed
            (shared / "go").touch()

    paths = sweep(
        slow_square, [BAD, *CONFIGS], folder=tmp_path / "runs", work=shared, ray=cluster.address, on_progress=kill
    )

    assert lost not in cluster.worker_nodes
    assert [path.stem for path in paths] == [identify(config) for config in CONFIGS]
    assert outcomes(tmp_path / "runs") == outcomes(tmp_path / "alone")
    assert len(list((tmp_path / "runs").iterdir())) == len(CONFIGS) + 1
    begun = [len((shared / identify(config) / "began").read_text()) for config in CONFIGS]
    assert sorted(begun) == [1, 1, 1, 1, 1, 2], "the one that was running on the lost node begins again"


def test_without_a_cluster_at_the_address_the_sweep_says_so(tmp_path):
    with pytest.raises(SweepError, match=r"ray: expected a running cluster at 127\.0\.0\.1:1"):
        sweep(slow_square, CONFIGS, folder=tmp_path / "runs", work=tmp_path / "work", ray="127.0.0.1:1")
