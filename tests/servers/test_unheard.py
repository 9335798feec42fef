"""Workers in which events are published that their clients cannot hear."""

from tests.servers.harness import Client, Server, eventually


def test_job_that_makes_the_app_again_is_told(tmp_path):
    """
    In several workers a second app of the name has another database: a thread that publishes there is told
    once, with the cure.
    """
    with Server(
        "gunicorn-gevent", "-w", "2", app="tests.servers.jobs:app", environ={"TMPDIR": str(tmp_path)}
    ) as server:
        with Client(server, "/events").begun() as client:
            workers = [server.post("/job")["pid"] for _ in range(8)]
            eventually(lambda: server.log.count("Clients do not hear this event") == len(set(workers)))
            server.post("/fork")
            assert [event.data for event in client.wait(1)] == ["from the child"]
        assert server.log.count("Clients do not hear this event") == len(set(workers))
        assert "each with a bus of its own (sqlite)" in server.log
        assert "Nobody can hear" not in server.log


def test_child_of_a_lone_worker_is_told():
    """
    What a view forks has a memory of its own: its event reaches nobody, and it says so.
    """
    with Server("gunicorn-gthread") as server, Client(server, "/events").begun() as client:
        server.post("/fork")
        eventually(
            lambda: "WARNING flask_sse_push Nobody can hear this event: it stays in process" in server.log
        )
        assert f"in process {server.worker_pid()}," not in server.log
        server.publish("heard")
        assert [event.data for event in client.wait(1)] == ["heard"]
