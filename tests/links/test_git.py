from __future__ import annotations

import base64
import os
import subprocess
import time
from pathlib import Path

import pytest

from parts_receivers import http_receiver
from tidegauge.errors import InvalidInputError, TooLargeError, UnavailableError
from tidegauge.links import folders, git
from tidegauge.links.addresses import Gate

PRIVATE = Gate(private=True)


def run(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """Two commits on main, one more on the branch other."""
    folder = tmp_path / "repository"
    (folder / "data" / "A").mkdir(parents=True)
    run(folder, "init", "-q")
    for branch, text in (("", "one"), ("", "two"), ("other", "three")):
        if branch:
            run(folder, "checkout", "-q", "-b", branch)
        (folder / "data" / "A" / "file.txt").write_text(text)
        run(folder, "add", ".")
        run(folder, "commit", "-q", "-m", text)
    run(folder, "checkout", "-q", "main")
    return folder


def test_fetches_the_newest_commit_of_the_default_branch_only(repository, tmp_path):
    into = tmp_path / "into"
    commit = git.fetch(str(repository), "", into, PRIVATE)
    assert commit == run(repository, "rev-parse", "main")
    assert (into / "data" / "A" / "file.txt").read_text() == "two"
    assert run(into, "rev-list", "--count", "HEAD") == "1"


def test_fetches_a_branch_by_a_file_url_into_an_existing_empty_folder(repository, tmp_path):
    into = tmp_path / "into"
    into.mkdir()
    assert git.fetch(repository.as_uri(), "other", into, PRIVATE) == run(repository, "rev-parse", "other")
    assert (into / "data" / "A" / "file.txt").read_text() == "three"


def test_works_while_git_itself_runs_us(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert len(git.fetch(str(repository), "main", tmp_path / "into", PRIVATE)) == 40


def test_unknown_branch_is_named(repository, tmp_path):
    with pytest.raises(InvalidInputError, match="has no branch 'nope'") as caught:
        git.fetch(str(repository), "nope", tmp_path / "into", PRIVATE)
    assert caught.value.errors[0].field == "source.branch"


@pytest.mark.parametrize("url", ["/no/such/folder", "http://user:secret@127.0.0.1:1/x.git"])
def test_unreachable_url_is_named_without_its_password(tmp_path, url):
    with pytest.raises(InvalidInputError, match="cannot be fetched") as caught:
        git.fetch(url, "", tmp_path / "into", PRIVATE)
    assert caught.value.errors[0].field == "source.url"
    assert "secret" not in caught.value.message


def test_empty_repository_says_so(tmp_path):
    (tmp_path / "empty").mkdir()
    run(tmp_path / "empty", "init", "-q")
    with pytest.raises(InvalidInputError, match="has no commit yet"):
        git.fetch(str(tmp_path / "empty"), "", tmp_path / "into", PRIVATE)


@pytest.mark.parametrize(
    ("url", "branch"),
    [
        ("--upload-pack=touch {mark}", ""),
        ("ext::sh -c touch% {mark}", ""),
        ("-u./x", ""),
        ("{repository}", "--upload-pack=touch {mark}"),
        ("{repository}", "main\n"),
        ("", ""),
    ],
)
def test_options_and_commands_cannot_be_smuggled_in(repository, tmp_path, url, branch):
    mark = tmp_path / "mark"
    with pytest.raises(InvalidInputError):
        git.fetch(
            url.format(mark=mark, repository=repository),
            branch.format(mark=mark, repository=repository),
            tmp_path / "into",
            PRIVATE,
        )
    assert not mark.exists()


def test_git_itself_is_told_to_refuse_other_protocols(tmp_path):
    mark = tmp_path / "mark"
    code, _, error = git._git(["clone", "--", f"ext::sh -c touch% {mark}", str(tmp_path / "into")], 30)
    assert code
    assert "not allowed" in error
    assert not mark.exists()


def test_hooks_of_the_user_do_not_run(repository, tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    mark = tmp_path / "mark"
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[core]\nhooksPath = {hooks}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    git.fetch(str(repository), "", tmp_path / "into", PRIVATE)
    assert not mark.exists()


def test_missing_git_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="git command is missing"):
        git.fetch("/x", "", tmp_path / "into", PRIVATE)


def test_slow_server_ends_at_the_timeout_with_all_helpers(tmp_path, monkeypatch):
    slow = tmp_path / "ssh"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(slow))
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match=r"within 0\.5 seconds"):
        git.fetch("ssh://192.0.2.1/x.git", "", tmp_path / "into", PRIVATE, timeout=0.5)
    assert time.monotonic() - begun < 10  # the helper holds the pipe: it was ended too


def test_sub_path(repository):
    assert folders.sub_path(repository, "") == repository.resolve()
    assert folders.sub_path(repository, "data/A") == (repository / "data" / "A").resolve()


@pytest.mark.parametrize("path", ["..", "data/../..", "/etc", "data/missing", "data/A/file.txt", "a\0b"])
def test_sub_path_refuses_what_is_no_folder_within(repository, path):
    with pytest.raises(InvalidInputError) as caught:
        folders.sub_path(repository, path)
    assert caught.value.errors[0].field == "source.sub_path"


def test_sub_path_refuses_a_link_out(repository, tmp_path):
    (repository / "out").symlink_to(tmp_path)
    (repository / "in").symlink_to(repository / "data")
    assert folders.sub_path(repository, "in") == (repository / "data").resolve()
    with pytest.raises(InvalidInputError, match="symbolic link"):
        folders.sub_path(repository, "out")


def test_git_asks_the_address_that_was_checked_and_follows_no_redirect(tmp_path):
    with http_receiver() as receiver, http_receiver() as other:
        gate = Gate(private=True, resolve=lambda _host, _port: ["127.0.0.1"])
        url = f"http://git.example:{receiver.port}/x.git"
        with pytest.raises(InvalidInputError, match="no commit yet"):
            git.fetch(url, "", tmp_path / "into", gate)
        assert receiver.requests[0].path == "/x.git/info/refs?service=git-upload-pack"
        receiver.redirect = f"http://127.0.0.1:{other.port}/y.git/info/refs?service=git-upload-pack"
        with pytest.raises(InvalidInputError, match="cannot be fetched"):
            git.fetch(url, "", tmp_path / "again", gate)
        assert other.requests == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ssh://git@git.example:2222/x.git", "-oHostName=192.0.2.7 -oHostKeyAlias=[git.example]:2222"),
        ("git@git.example:team/x.git", "-oHostName=192.0.2.7 -oHostKeyAlias=git.example"),
    ],
)
def test_ssh_is_given_the_address_that_was_checked(tmp_path, monkeypatch, url, told):
    script, said = tmp_path / "ssh", tmp_path / "said"
    script.write_text(f'#!/bin/sh\necho "$@" >> {said}\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    gate = Gate(private=True, resolve=lambda _host, _port: ["192.0.2.7"])
    with pytest.raises(InvalidInputError, match="cannot be fetched"):
        git.fetch(url, "", tmp_path / "into", gate)
    assert told in said.read_text()


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/x.git",
        "http://user:word@169.254.169.254/x.git",
        "https://metadata.google.internal/x.git",
        "ssh://git@169.254.169.254/x.git",
        "git@169.254.169.254:x.git",
        "git://169.254.169.254/x.git",
        "http://0xA9FEA9FE/x.git",
        "git@2852039166:x.git",
        "http://a@b@169.254.169.254/x.git",
        "ssh://%31%36%39.254.169.254/x.git",
        "ssh://-oProxyCommand=touch/x.git",
        "ftp://example.org/x.git",
    ],
)
def test_git_is_not_sent_where_nothing_may_be_sent(tmp_path, url):
    for made in (git.check, lambda *given: git.fetch(*given[:2], tmp_path / "into", given[2])):
        with pytest.raises(InvalidInputError) as caught:
            made(url, "", PRIVATE)
        assert caught.value.errors[0].field == "source.url"
        assert "word" not in caught.value.message


def test_private_hosts_are_for_operators(tmp_path):
    for url in ("http://127.0.0.1:1/x.git", "ssh://git@10.0.0.1/x.git", "git@192.168.0.1:x.git"):
        git.check(url, "", PRIVATE)
        with pytest.raises(InvalidInputError, match="only operators"):
            git.check(url, "", Gate(private=False))


def test_a_public_host_without_an_address_is_said(tmp_path):
    with pytest.raises(InvalidInputError, match="has no address"):
        git.fetch("https://no-such-host.invalid/x.git", "", tmp_path / "into", PRIVATE)


def test_submodules_and_large_files_elsewhere_are_not_fetched(repository, tmp_path, monkeypatch):
    with http_receiver() as receiver:
        (repository / ".gitmodules").write_text(
            f'[submodule "sub"]\n\tpath = sub\n\turl = {receiver.url}/sub.git\n'
        )
        (repository / ".lfsconfig").write_text(f"[lfs]\n\turl = {receiver.url}/lfs\n")
        (repository / ".gitattributes").write_text("*.big filter=lfs\n")
        (repository / "x.big").write_text("version https://git-lfs.github.com/spec/v1\n")
        mark = tmp_path / "mark"
        config = tmp_path / "config"
        config.write_text(
            "[submodule]\n\trecurse = true\n"
            f'[filter "lfs"]\n\tsmudge = touch {mark}; cat\n\trequired = true\n'
        )
        run(repository, "update-index", "--add", "--cacheinfo", "160000", "a" * 40, "sub")
        run(repository, "add", ".gitmodules", ".lfsconfig", ".gitattributes", "x.big")
        run(repository, "commit", "-q", "-m", "more")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
        git.fetch(str(repository), "", tmp_path / "into", PRIVATE)
        assert receiver.requests == []
    assert not mark.exists()
    assert (tmp_path / "into" / "x.big").read_text().startswith("version")


def test_a_repository_brings_no_hooks_and_no_settings(repository, tmp_path):
    mark = tmp_path / "mark"
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    run(repository, "config", "core.fsmonitor", f"touch {mark}")
    git.fetch(str(repository), "", tmp_path / "into", PRIVATE)
    assert not mark.exists()
    assert not (tmp_path / "into" / ".git" / "hooks").exists()
    assert "fsmonitor" not in (tmp_path / "into" / ".git" / "config").read_text()


def test_links_that_lead_out_of_a_checkout_are_not_read(repository, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (repository / "out").symlink_to(secret)
    (repository / "up").symlink_to("../../secret")
    (repository / "config").symlink_to(".git/config")
    (repository / "folder").symlink_to("/etc")
    run(repository, "add", ".")
    run(repository, "commit", "-q", "-m", "links")
    git.fetch(str(repository), "", tmp_path / "into", PRIVATE)
    tree = folders.walk(tmp_path / "into")
    assert tree.paths == ("data/A/file.txt",)
    assert {problem.file for problem in tree.problems} == {"out", "up", "config", "folder"}
    for path in ("folder", "up", "../secret"):
        with pytest.raises(InvalidInputError):
            folders.sub_path(tmp_path / "into", path)


def test_a_repository_that_is_too_large_is_stopped(repository, tmp_path):
    (repository / "large").write_bytes(os.urandom(3_000_000))
    run(repository, "add", ".")
    run(repository, "commit", "-q", "-m", "large")
    with pytest.raises(TooLargeError, match="more than 1000000 bytes"):
        git.fetch(str(repository), "", tmp_path / "into", PRIVATE, max_bytes=1_000_000)


def test_who_asks_is_shown_to_the_server_and_not_among_the_arguments(tmp_path, monkeypatch):
    seen = []
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda args, **rest: seen.append(args) or start(args, **rest))
    with http_receiver() as receiver, pytest.raises(InvalidInputError):
        git.fetch(f"{receiver.url}/x.git", "", tmp_path / "into", PRIVATE, secret="me:wo%40rd")
    packed = base64.b64encode(b"me:wo@rd").decode()
    assert receiver.requests[0].headers["authorization"] == f"Basic {packed}"
    assert seen
    assert not [part for args in seen for part in args if "rd" in part and "me:" in part]


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("/srv/x", True),
        ("file:///srv/x", True),
        ("x/y", True),
        ("git@a.org:x", False),
        ("https://a.org/x", False),
    ],
)
def test_folders_of_this_machine_are_told_from_hosts(url, local):
    assert git.is_local(url) is local


@pytest.mark.parametrize("url", ["/srv/x", "file:///srv/x", "FILE:///srv/x"])
def test_the_folder_of_a_local_url_is_that_which_git_reads(url: str) -> None:
    assert git.folder_of(url) == Path("/srv/x")


@pytest.mark.parametrize("url", ["file:///h%6fme/x", "file://srv/x"])
def test_a_local_url_that_git_reads_otherwise_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="give a folder as file:///path"):
        git.folder_of(url)
