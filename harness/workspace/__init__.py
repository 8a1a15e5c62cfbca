"""Git: worktrees, commits, merges, landing; nobody's checkout is touched before work lands.

Git is shared state, and a repository's own configuration can run programs: fsmonitor, filters, hooks, external diffs,
merge drivers, ssh commands. A list of keys to switch off is never complete, so no command that works on content reads
that configuration at all. Everything goes through a *door*, a git directory of ours in the user's cache folder:

    door/config      written by us from a short list of harmless keys (line endings, file modes, object format)
    door/objects     → the repository's objects: what we commit is there at once, nothing is copied
    door/refs, packed-refs, shallow, info/exclude   → the repository's
    door/worktrees/  ours: the user's `git worktree list` stays as it was, and no task can write here

Git's own `git-new-workdir` ties a repository in the same way. Commands on a worktree name door and checkout
explicitly (`GIT_DIR`, `GIT_WORK_TREE`, an index file of ours), so whatever a task writes in place of `.git` is never
looked at; a `.git` deeper in the tree is removed before content is read.

    finding.py     the repository around a folder, judged, and its door, furnished
    door.py        runs git through the door, one command at a time
    locks.py       locks among processes
    trees.py       worktrees on disk: names, removal, what a task may have left behind
    repository.py  GitWorkspace: the seam that phases and worker use
    landing.py     branch, merge or pull request
    exchange.py    commits carried between machines through a remote
"""

from harness.workspace.repository import GitWorkspace

__all__ = ["GitWorkspace"]
