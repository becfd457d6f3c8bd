import threading
import time

import pytest

from scalefuse.inference.engines.choice import Job
from scalefuse.workflows.pipeline import Pipeline, depth_for
from scalefuse.workflows.workload import job_of


def results(pipeline, items):
    with pipeline.running(items) as outcomes:
        return [outcome() for outcome in outcomes]


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_every_item_once_and_in_order(depth, count):
    delays = [0.001 * (index * 7 % 5) for index in range(count)]

    def finish(item, made):
        time.sleep(delays[item])
        return item, made

    def read(item):
        time.sleep(delays[-item])
        return item * 10

    pipeline = Pipeline(read=read, compute=lambda value: value + 1, finish=finish, depth=depth)
    assert results(pipeline, range(count)) == [(item, item * 10 + 1) for item in range(count)]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_few_items_are_held(depth):
    held, most, lock = set(), [0], threading.Lock()

    def read(item):
        with lock:
            held.add(item)
            most[0] = max(most[0], len(held))
        return item

    def finish(item, made):
        time.sleep(0.002)
        with lock:
            held.discard(item)
        return item

    pipeline = Pipeline(read=read, compute=lambda value: value, finish=finish, depth=depth)
    results(pipeline, range(40))
    assert most[0] <= 2 * depth + 1


def test_reading_and_finishing_run_beside_computing():
    """Each step waits for another one of another item: one after the other, this would never end."""
    read_second, computed_second = threading.Event(), threading.Event()

    def read(item):
        if item == 1:
            read_second.set()
        return item

    def compute(item):
        if item == 0:
            assert read_second.wait(30), "nothing was read ahead"
        if item == 1:
            computed_second.set()
        return item

    def finish(item, made):
        if item == 0:
            assert computed_second.wait(30), "nothing was computed while the first was finished"
        return item

    assert results(Pipeline(read=read, compute=compute, finish=finish), [0, 1, 2]) == [0, 1, 2]


@pytest.mark.parametrize("step", ["read", "compute", "finish"])
@pytest.mark.parametrize("depth", [0, 2])
def test_an_error_comes_where_its_item_does(step, depth):
    def at(name):
        def do(item, *made):
            if name == step and item == 3:
                raise ValueError(f"{name} {item}")
            return item

        return do

    pipeline = Pipeline(read=at("read"), compute=at("compute"), finish=at("finish"), depth=depth)
    seen = []
    with pipeline.running(range(6)) as outcomes:
        for outcome in outcomes:
            try:
                seen.append(outcome())
            except ValueError as error:
                seen.append(str(error))
    assert seen == [0, 1, 2, f"{step} 3", 4, 5]


def test_left_early_what_was_begun_is_finished_and_no_more():
    finished, begun = [], []

    def finish(item, made):
        begun.append(item)
        time.sleep(0.05)
        finished.append(item)
        return item

    pipeline = Pipeline(read=lambda item: item, compute=lambda item: item, finish=finish)
    before = threading.active_count()
    with pipeline.running(range(1000)) as outcomes:
        next(outcomes)()
    assert begun == finished
    assert 1 <= len(finished) <= 5
    assert threading.active_count() == before


def test_ctrl_c_while_computing():
    def compute(item):
        if item == 2:
            raise KeyboardInterrupt
        return item

    pipeline = Pipeline(read=lambda item: item, compute=compute, finish=lambda item, made: item)
    with pytest.raises(KeyboardInterrupt):
        results(pipeline, range(100))


def test_large_pictures_are_taken_one_by_one():
    assert [depth_for(Job(4, 4 * each)) for each in (0.1, 4, 5, 32, 33)] == [2, 2, 1, 1, 0]
    assert depth_for(Job(0, 0.0)) == 2


def test_a_job_is_sized_by_headers(tmp_path):
    from PIL import Image

    for index in range(3):
        Image.new("L", (100, 200)).save(tmp_path / f"{index}.png")
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    files = sorted(tmp_path.glob("?.png"))
    assert job_of(files) == Job(3, pytest.approx(0.06))
    # What cannot be read is not computed.
    assert job_of([tmp_path / "damaged.png"]).megapixels == 0
    # Of many only some are looked at.
    assert job_of(files[:1] * 1000).megapixels == pytest.approx(20.0)
