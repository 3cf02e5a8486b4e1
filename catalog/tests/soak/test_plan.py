"""The plan of a soak, and the made-up providers."""

import itertools

import pytest
from upath import UPath

from catalog.core.errors import Retry
from catalog.core.secrets import Secret
from catalog.ingestion.assemble import client_for
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.registry import provider_class
from catalog.soak import certificates, made_up
from catalog.soak.apis import FAULTS as API_FAULTS
from catalog.soak.apis import Apis
from catalog.soak.plan import ACTIONS, FAULTS, PAUSES, make_plan
from catalog.soak.workload import Workload


def test_the_same_seed_makes_the_same_plan():
    assert make_plan(7, 20) == make_plan(7, 20)
    assert make_plan(7, 20) != make_plan(8, 20)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_holds_everything_in_order_within_its_time(seed):
    plan = make_plan(seed, 60)
    assert [step.at for step in plan] == sorted(step.at for step in plan)
    assert plan[-1].at < 3600
    assert {step.kind for step in plan} == ACTIONS.keys() | FAULTS.keys()


def test_a_part_is_not_killed_so_often_that_the_stack_gives_up():
    plan = make_plan(3, 120)
    for kind, pause in PAUSES.items():
        times = [step.at for step in plan if step.kind == kind]
        assert len(times) > 3
        assert min(b - a for a, b in itertools.pairwise(times)) >= pause - 0.01


def test_every_action_has_its_method():
    assert not [kind for kind in ACTIONS if not hasattr(Workload, f"_{kind}")]
    assert set(API_FAULTS) < FAULTS.keys()


@pytest.fixture
def apis(tmp_path, monkeypatch):
    files = certificates.make(tmp_path, made_up.HOSTS)
    apis = Apis(files.server)
    monkeypatch.setenv("HTTPS_PROXY", apis.proxy)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files.authority))
    yield apis
    apis.close()


def client_of(cls):
    return client_for(cls, Secret("a-key"), throttle=NoThrottle(), private_hosts=made_up.HOSTS)


# StockSnap is left out, because its pull requests the size of each file.
@pytest.mark.parametrize("name", sorted({*made_up.SOURCES} - {"stocksnap"}))
def test_a_pull_reads_what_the_made_up_api_holds(apis, tmp_path, clock, name):
    apis.content.grow(name)
    source, cls = made_up.SOURCES[name], provider_class(name)
    parts = Parts(UPath(tmp_path / "parts"), name, clock, None, "key", 1)
    manifest = Pull(cls(), client_of(cls), parts, run_id="a run").run()
    counts = manifest.counts[source.media_type]
    assert manifest.complete
    assert counts.fetched == len(made_up.items(name, 1))
    assert (sum(counts.skipped.values()), counts.rejected, counts.cleaned) == (made_up.odd(name, 1), {}, {})
    assert apis.content.delivered(name) == made_up.pages(name, 1)
    text = b"".join(path.read_bytes() for path in parts.tsv_files(source.media_type, manifest)).decode()
    rows = [line.split("\t") for line in text.splitlines()]
    wanted = [i for group in made_up.groups(1) for i in source.identifiers(group)]
    assert [row[0] for row in rows] == wanted
    assert {row[10] for row in rows} == {"Made G1", "Water G1"}


@pytest.mark.parametrize("fault", API_FAULTS)
def test_an_api_that_fails_delivers_nothing(apis, fault):
    apis.content.fail("nappy", fault, 60)
    cls = provider_class("nappy")
    client = client_for(cls, None, throttle=NoThrottle(), private_hosts=made_up.HOSTS)
    client._policy = client._policy.__class__(2, 3600, 900, lambda _: None)
    with pytest.raises(Retry):
        client.get_json("https://api.nappy.co/v1/openverse/images", {"page": 1})
    assert apis.content.delivered("nappy") == 0
    apis.content.end_faults()
    client.get_json("https://api.nappy.co/v1/openverse/images", {"page": 1})
    assert apis.content.delivered("nappy") == 1


def test_identifiers_contain_their_group_and_titles_their_generation():
    source = made_up.SOURCES["smk"]
    for group in made_up.groups(3):
        assert {made_up.group_of(i) for i in source.identifiers(group)} == {group}
    assert made_up.group_of("somebody-else") == ""
    assert made_up.generation_of(made_up.title(10, 12)) == 12
    assert made_up.generation_of("A bridge") is None
