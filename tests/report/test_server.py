"""The server of a page: on this machine alone, two paths, and nothing but what is in the folder."""

import http.client
import threading

import pytest

pytest.importorskip("plotly", reason="plotly is not installed (the extra report)")
pytest.importorskip("jinja2", reason="jinja2 is not installed (the extra report)")

from regopt.experiment._cli import main
from regopt.experiment._sweeps import watch
from support.saved_sweeps import result


@pytest.fixture
def served(tmp_path):
    made = watch([tmp_path], 0)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield tmp_path, made
    made.shutdown()
    made.server_close()


def get(made, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", made.server_port, timeout=60)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_it_serves_the_page_and_its_version(served):
    folder, made = served
    assert made.server_address[0] == "127.0.0.1"
    assert get(made, "/version") == (200, "none")
    assert "saved nothing yet" in get(made, "/")[1]
    result(settings=12, seeds=1).save(folder)
    first = get(made, "/version")[1]
    status, page = get(made, "/")
    assert status == 200
    assert f'data-version="{first}"' in page
    assert "connect-src 'self'" in page
    result(settings=16, seeds=1).save(folder)
    assert get(made, "/version")[1] != first
    assert "16 settings" in get(made, "/")[1]


def test_other_paths_and_other_names_get_nothing(served):
    folder, made = served
    (folder / "secret.txt").write_text("secret")
    assert get(made, "/secret.txt")[0] == 404
    assert get(made, "/../secret.txt")[0] == 404
    assert get(made, "/", host="evil.example")[0] == 403


def test_several_sweeps_lie_side_by_side(tmp_path):
    folders = [tmp_path / name for name in ("first", "<second>")]
    for folder, settings in zip(folders, (12, 16), strict=True):
        folder.mkdir()
        result(settings=settings, seeds=1).save(folder)
    made = watch(folders, 0)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        status, page = get(made, "/")
        assert status == 200
        assert '<iframe src="0/"' in page
        assert '<iframe src="1/"' in page
        assert "&lt;second&gt;" in page
        assert "<second>" not in page
        for place, settings in (("/0/", 12), ("/1/", 16)):
            version = get(made, f"{place}version")[1]
            shown = get(made, place)[1]
            assert f"{settings} settings" in shown
            assert f'data-version="{version}"' in shown
        assert get(made, "/0/version")[1] != get(made, "/1/version")[1]
        assert get(made, "/version")[0] == get(made, "/2/")[0] == 404
    finally:
        made.shutdown()
        made.server_close()


def test_wrong_arguments_are_said_in_one_line(tmp_path, capsys):
    assert main(["sweep", "watch", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["sweep", "watch", str(tmp_path), str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["sweep", "watch", str(tmp_path), "--port", "70000"]) == 2
    assert "--port must lie in [0, 65535], got 70000" in capsys.readouterr().err.replace(":", "")
