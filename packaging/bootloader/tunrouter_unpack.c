/*
 * What the executable unpacks, and where, and how it ends: what PyInstaller's bootloader does not do for us.
 *
 * Knows: mount options, locks, the two processes of a one-file program, what a question needs of it.
 * Refuses to know: everything else about what is in it.
 *
 *     parent   makes DIR/_MEIppppppppxxxxxx, unpacks, forwards signals, waits, removes it
 *       child  the same file once more: Python and the program
 *
 * DIR/_MEI.../tunrouter.lock is held by both for as long as they live: whoever gets the lock may remove the
 * directory, because nobody uses it any more. It is locked before it bears that name, so none is seen unlocked.
 */

#define _GNU_SOURCE /* fallocate */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "pyi_archive.h"
#include "pyi_main.h"
#include "pyi_utils.h"
#include "tunrouter_unpack.h"

#define LOCK "tunrouter.lock"
#define NEW_LOCK ".lock"
#define NAME_LENGTH 18 /* _MEI, the parent's pid in 8 digits, 6 letters of mkdtemp's: pyi_security.c wants that */
#define PAGE 4096
#define MOST_TEXT 1024
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void hold_signals(void);

/* --- folders that a kill -9 left behind --------------------------------------------------------- */

static void
remove_content(int directory, const char *keep)
{
    int copy = dup(directory);
    DIR *listing = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;

    if (listing == NULL) {
        if (copy >= 0) {
            close(copy);
        }
        return;
    }
    rewinddir(listing);
    while ((entry = readdir(listing)) != NULL) {
        const char *name = entry->d_name;
        int inner;

        if (!strcmp(name, ".") || !strcmp(name, "..") || (keep != NULL && !strcmp(name, keep))) {
            continue;
        }
        if (unlinkat(directory, name, 0) == 0) {
            continue;
        }
        inner = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0) {
            remove_content(inner, NULL);
            close(inner);
            unlinkat(directory, name, AT_REMOVEDIR);
        }
    }
    closedir(listing);
}

static int
is_ours(int file, mode_t kind)
{
    struct stat found;

    return fstat(file, &found) == 0 && (found.st_mode & S_IFMT) == kind && found.st_uid == geteuid();
}

/* Remove the folder, if a tunrouter of this user made it and none runs from it. */
static void
clear_if_stale(int place, const char *name)
{
    int directory = openat(place, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int lock = -1;

    if (directory < 0) {
        return;
    }
    if (is_ours(directory, S_IFDIR)) {
        lock = openat(directory, LOCK, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    }
    if (lock >= 0 && is_ours(lock, S_IFREG) && flock(lock, LOCK_EX | LOCK_NB) == 0) {
        remove_content(directory, LOCK); /* the lock goes last: who is interrupted leaves it to the next one */
        unlinkat(directory, LOCK, 0);
        unlinkat(place, name, AT_REMOVEDIR);
    }
    if (lock >= 0) {
        close(lock);
    }
    close(directory);
}

static void
clear_stale(const char *place)
{
    DIR *listing = opendir(place);
    struct dirent *entry;

    if (listing == NULL) {
        return;
    }
    while ((entry = readdir(listing)) != NULL) {
        if (!strncmp(entry->d_name, "_MEI", 4) && strlen(entry->d_name) == NAME_LENGTH) {
            clear_if_stale(dirfd(listing), entry->d_name);
        }
    }
    closedir(listing);
}

/* --- what is unpacked ---------------------------------------------------------------------------- */

/* First words of what is done without gevent and the rest (lib/cli_entry.py, AT_ONCE; tests/unit/test_cli_entry.py). */
static const char *const AT_ONCE[] = {
    "-h", "--help", "-V", "--version", "status", "drops", "routes", "kick", "drain", "top"
};

/* What is not unpacked for it, by what stands in its name: two thirds of all bytes. */
static const char *const THE_REST[] = {
    "cryptography", "gevent", "google/", "greenlet", "zope", "yaml/", "msgspec", "_cffi_backend.", "libcrypto.", "libssl.",
    "libstdc++.", "lib-dynload/_ssl.", "lib-dynload/_hashlib."
};

/* Whether the entry of that name has to be there for these arguments. */
int
tunrouter_needs(const struct PYI_CONTEXT *pyi_ctx, const char *name)
{
    const char *word = pyi_ctx->argc > 1 ? pyi_ctx->argv[1] : "";
    size_t i;

    for (i = 0; i < COUNT(AT_ONCE) && strcmp(word, AT_ONCE[i]); i++) {}
    if (i == COUNT(AT_ONCE)) {
        return 1;
    }
    for (i = 0; i < COUNT(THE_REST) && strstr(name, THE_REST[i]) == NULL; i++) {}
    return i == COUNT(THE_REST);
}

/* --- a place to unpack to ----------------------------------------------------------------------- */

/* Bytes on disk, the last block of every file and some for directories counted as whole. */
static unsigned long long
needed(const struct PYI_CONTEXT *pyi_ctx)
{
    const struct ARCHIVE *archive = pyi_ctx->archive;
    const struct TOC_ENTRY *entry;
    unsigned long long sum = 64 * PAGE;

    for (entry = archive->toc; entry < archive->toc_end; entry = pyi_archive_next_toc_entry(archive, entry)) {
        if (strchr("bxZn", entry->typecode) != NULL && tunrouter_needs(pyi_ctx, entry->name)) { /* what pyi_launch_extract_files_from_archive unpacks */
            sum += (entry->uncompressed_length / PAGE + 2) * PAGE;
        }
    }
    return sum;
}

static const char *
in_words(int number)
{
    switch (number) {
        case ENOENT: case ENOTDIR: return "is no directory";
        case EACCES: case EPERM: return "is not writable for this user";
        case EROFS: return "is read-only";
        case ENOSPC: case EDQUOT: return "is full";
        default: return strerror(number);
    }
}

/* Make the folder in that place; NULL when that worked, else why not, with nothing left there. */
static const char *
make_in(const char *place, unsigned long long size, char *path)
{
    char file[PYI_PATH_MAX + sizeof(LOCK) + 1], kept[sizeof(file)];
    struct statvfs room;
    const char *why = NULL;
    void *page;
    int lock;

    if (snprintf(path, PYI_PATH_MAX, "%s/_MEI%08xXXXXXX", place, (unsigned int)getpid()) >= PYI_PATH_MAX - 64) {
        return in_words(ENAMETOOLONG);
    }
    if (statvfs(place, &room) == 0 && (unsigned long long)room.f_bavail * room.f_frsize < size && room.f_blocks > 0) {
        return in_words(room.f_flag & ST_RDONLY ? EROFS : ENOSPC);
    }
    if (mkdtemp(path) == NULL) {
        return in_words(errno);
    }
    snprintf(file, sizeof(file), "%s/" NEW_LOCK, path);
    snprintf(kept, sizeof(kept), "%s/" LOCK, path);
    lock = open(file, O_RDWR | O_CREAT | O_EXCL, 0600); /* no O_CLOEXEC: the child holds it too */
    if (lock < 0) {
        why = in_words(errno);
        rmdir(path);
        return why;
    }
    /* Where the file system can say, space is what we really get: quotas, what is kept for root. */
    if (fallocate(lock, 0, 0, (off_t)size) < 0 && (errno == ENOSPC || errno == EDQUOT)) {
        why = in_words(errno);
    } else if ((page = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, lock, 0)) == MAP_FAILED) {
        why = errno == EPERM || errno == EACCES ? "is mounted noexec" : in_words(errno);
    } else {
        munmap(page, PAGE);
        if (ftruncate(lock, 0) < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0 || rename(file, kept) < 0) {
            why = in_words(errno);
        }
    }
    if (why != NULL) {
        close(lock);
        pyi_recursive_rmdir(path);
    }
    return why;
}

static void
append(char *text, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + used, MOST_TEXT - used, format, arguments);
    va_end(arguments);
}

/* Make the folder in the first place that will do; one line and status 1 where there is none. */
void
tunrouter_make_folder(struct PYI_CONTEXT *pyi_ctx)
{
    const char *places[] = {
        getenv("TMPDIR"), getenv("TEMP"), getenv("TMP"), "/tmp", "/var/tmp", getenv("XDG_RUNTIME_DIR"), "/run", "/dev/shm"
    };
    unsigned long long size = needed(pyi_ctx);
    char said[MOST_TEXT] = "";
    size_t i, j;

    hold_signals();
    for (i = 0; i < COUNT(places); i++) {
        char place[PYI_PATH_MAX];
        const char *why;

        for (j = 0; j < i && (places[i] == NULL || places[j] == NULL || strcmp(places[i], places[j])); j++) {}
        if (j < i || places[i] == NULL || !places[i][0] || realpath(places[i], place) == NULL) {
            if (j == i && places[i] != NULL && places[i][0]) {
                append(said, "%s %s, ", places[i], in_words(errno));
            }
            continue;
        }
        clear_stale(place); /* first: what they hold may be what is missing */
        why = make_in(place, size, pyi_ctx->application_home_dir);
        if (why == NULL) {
            return;
        }
        append(said, "%s %s, ", places[i], why);
    }
    fprintf(
        stderr,
        "error: no place to unpack to: %s"
        "so set TMPDIR=/some/dir: writable, not mounted noexec, with %llu MB free\n",
        said, (size + 999999) / 1000000
    );
    exit(1);
}

/* Unpacking failed, and the lines above this one say at which file. */
void
tunrouter_unpack_failed(struct PYI_CONTEXT *pyi_ctx)
{
    fprintf(stderr, "error: cannot unpack to %s: set TMPDIR=/some/dir\n", pyi_ctx->application_home_dir);
    pyi_recursive_rmdir(pyi_ctx->application_home_dir);
}

/* --- the two processes -------------------------------------------------------------------------- */

/* In the child, before anything else: end when the parent does, even by kill -9. */
void
tunrouter_end_with(unsigned int parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != (pid_t)parent) { /* it ended before that could be noticed */
        _exit(1);
    }
}

static int releasing;

static sigset_t
ends_it(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    return signals;
}

/* Before the child is there: a signal that ends us now would leave what is unpacked behind. */
static void
hold_signals(void)
{
    sigset_t signals = ends_it();

    sigprocmask(SIG_BLOCK, &signals, NULL);
}

/* In both, once there is a child: those that have come meanwhile are passed on by the parent. */
void
tunrouter_release_signals(void)
{
    sigset_t signals = ends_it();

    releasing = 1;
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    releasing = 0;
}

/* In the parent: whether the child has had this signal already. The kernel's own (Ctrl-C, a terminal that
 * is gone) go to the whole process group, and a second one would mean "do not wait for anything". */
int
tunrouter_child_has_it(const siginfo_t *about)
{
    return !releasing && about->si_code == SI_KERNEL && getpgid(global_pyi_ctx->child_pid) == getpgrp();
}
