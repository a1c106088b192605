"""The graph of revisions, without a database."""

import pytest

from core.migrations.graph import BadRevision, Graph, Revision, read_folder


@pytest.fixture
def graph():
    """core: 1 - 2 - 3; alpha: 1 (on core 1) - 2; beta: 1 (on alpha 2 and, by its label, on core)."""
    return Graph(
        [
            Revision("core_1", "core", labels=("core",)),
            Revision("core_2", "core", ("core_1",)),
            Revision("core_3", "core", ("core_2",)),
            Revision("alpha_1", "alpha", needs=("core_1",), labels=("alpha",)),
            Revision("alpha_2", "alpha", ("alpha_1",), needs=("core_2",)),
            Revision("beta_1", "beta", needs=("alpha_2", "core"), labels=("beta",)),
        ]
    )


def test_a_database_is_where_its_rows_and_all_they_stand_on_say(graph):
    assert graph.reached(["beta_1"]) == {"alpha": "alpha_2", "beta": "beta_1", "core": "core_2"}
    assert graph.reached(["beta_1", "core_3"])["core"] == "core_3"
    assert graph.reached([]) == {}
    assert graph.reached(["gone_1"]) == {}


def test_rows_that_others_imply_are_not_kept(graph):
    assert graph.tips(["core_2", "alpha_2", "beta_1"]) == ["beta_1"]
    assert graph.tips(["core_3", "alpha_2", "beta_1"]) == ["beta_1", "core_3"]
    assert graph.tips(["core_1", "gone_1"]) == ["core_1"]


def test_what_stands_on_a_revision(graph):
    assert graph.above(["core_2"]) == {"core_2", "core_3", "alpha_2", "beta_1"}
    assert graph.dependents("core") == {"alpha", "beta"}
    assert graph.dependents("beta") == set()


def test_a_label_means_the_revision_that_carries_it(graph):
    assert "core_1" in graph.below(["beta_1"])
    assert not graph.dangling()


def test_revisions_come_after_what_they_stand_on(graph):
    order = graph.ordered(graph.revisions)
    assert order.index("core_2") < order.index("alpha_2") < order.index("beta_1")
    assert order.index("core_1") < order.index("alpha_1")


def test_heads_and_forks():
    fork = Graph(
        [Revision("a_1", "a", labels=("a",)), Revision("a_2", "a", ("a_1",)), Revision("a_3", "a", ("a_1",))]
    )
    assert fork.heads("a") == ["a_2", "a_3"]
    assert fork.heads("b") == []


def test_what_nobody_has_is_dangling():
    assert Graph([Revision("a_1", "a", needs=("b_1",))]).dangling() == {"a_1": "b_1"}


def test_a_ring_is_shown():
    ring = Graph([Revision("a_1", "a", ("a_2",)), Revision("a_2", "a", ("a_1",))]).ring()
    assert ring[0] == ring[-1]
    assert set(ring) == {"a_1", "a_2"}


def test_files_are_read_without_being_run(tmp_path):
    (tmp_path / "a.py").write_text(
        '"""Make it.\n\nAt length."""\nrevision: str = "a_1"\ndown_revision = None\n'
        'branch_labels = ("a",)\ndepends_on = ["c_1", "d_1"]\nraise SystemExit\n'
    )
    (tmp_path / "__init__.py").write_text("")

    (found,) = read_folder("a", tmp_path)

    assert (found.id, found.title, found.labels) == ("a_1", "Make it.", ("a",))
    assert found.needs == ("c_1", "d_1")
    assert read_folder("a", tmp_path / "missing") == []


@pytest.mark.parametrize(
    "text", ["revision = (", "x = 1", "revision = 3", "revision = name()", "revision = None"]
)
def test_a_file_that_is_no_revision_is_named(tmp_path, text):
    (tmp_path / "odd.py").write_text(text)

    with pytest.raises(BadRevision, match=r"odd\.py"):
        read_folder("a", tmp_path)
