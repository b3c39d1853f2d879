/*
 * Unpacking of the one-file executable: where to, which files, its cleaning up, its signals. What PyInstaller's
 * bootloader does not do for us.
 *
 * Knows: mount options, locks, the two processes of a one-file program, which files quick commands need.
 * Refuses to know: everything else about the files in the executable.
 *
 *     parent   makes DIR/_MEIppppppppxxxxxx, unpacks into it, forwards signals, waits for the child, removes it
 *       child  the same executable started once more: Python and the program
 *
 * Both hold a lock on DIR/_MEI.../tunrouter.lock as long as they live. A process that can take the lock may remove
 * the directory, because no process uses it any more: kill -9 leaves directories behind. The file is locked first
 * and gets this name afterwards, so no other process ever sees it unlocked while the directory is in use.
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
#define NAME_LENGTH 18 /* _MEI, the parent's pid in 8 hex digits, 6 letters of mkdtemp's, as pyi_security.c expects */
#define PAGE 4096
#define MOST_TEXT 1024
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void hold_signals(void);

/* Open what is missing of descriptors 0 to 2 on /dev/null, before anything else is opened. The executable's file
 * or the lock would take the number, and error messages and the log would go into it (`2>&-`). Both processes do
 * it, and the program once more (lib/cli_descriptors.py), for a checkout has no bootloader. */
void
tunrouter_open_standard_descriptors(void)
{
    int number;

    for (number = 0; number <= 2; number++) {
        /* open takes the lowest number that is free; where there is no /dev, a directory keeps it from others */
        if (fcntl(number, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) {
            (void)open("/", O_RDONLY);
        }
    }
}

/* --- folders that a kill -9 left behind --------------------------------------------------------- */

/* Remove everything in a directory but the entry `keep`. By descriptors and without following links, so that
 * nobody who may write to /tmp can make us remove something else by swapping a directory for a link. */
static void
remove_content(int directory, const char *keep)
{
    int copy = dup(directory); /* closedir closes its descriptor, and the caller still needs its own */
    DIR *listing = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;

    if (listing == NULL) {
        if (copy >= 0) {
            close(copy);
        }
        return;
    }
    rewinddir(listing); /* the position is shared with the caller's descriptor */
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

/* Whether an open file is of that kind (S_IFDIR, S_IFREG) and belongs to this user. Anybody may make a _MEI
 * directory in /tmp, or a lock in it that is a device or a fifo. */
static int
is_ours(int file, mode_t kind)
{
    struct stat found;

    return fstat(file, &found) == 0 && (found.st_mode & S_IFMT) == kind && found.st_uid == geteuid();
}

/* Remove a folder that a tunrouter of this user made, unless one still runs from it. A folder without our lock is
 * another program's (every PyInstaller program makes a _MEI folder) and stays. */
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
        /* The lock goes last: if we are interrupted, the next process can still tell that the folder is ours. */
        remove_content(directory, LOCK);
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

/* The quick commands: first arguments that need neither gevent nor the other big packages. The same list is in
 * lib/cli_entry.py (AT_ONCE); tests/unit/test_cli_entry.py compares them. */
static const char *const AT_ONCE[] = {
    "-h", "--help", "-V", "--version", "status", "drops", "routes", "kick", "drain", "top", "health"
};

/* Parts of the names of files that a quick command does not need: two thirds of all bytes, so two thirds of the
 * time that `status` would spend on unpacking. */
static const char *const THE_REST[] = {
    "cryptography", "gevent", "google/", "greenlet", "zope", "yaml/", "msgspec", "_cffi_backend.", "libcrypto.", "libssl.",
    "libstdc++.", "lib-dynload/_ssl.", "lib-dynload/_hashlib."
};

/* Whether the archive's entry of that name has to be unpacked for these arguments. */
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

/* Bytes on disk that unpacking needs: every file in whole pages and one more, and some pages for directories. */
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

/* An errno as the end of a sentence about a directory. */
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

/* Make the folder in a place, with its lock held. Returns NULL, or why it cannot be used; nothing is left there
 * then. A place is tried out before anything is unpacked, for a failure half way would be a riddle to the user. */
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
    /* A first look at free space, for file systems that cannot fallocate. Some report no blocks at all (f_blocks
     * is 0): then it says nothing. */
    if (statvfs(place, &room) == 0 && (unsigned long long)room.f_bavail * room.f_frsize < size && room.f_blocks > 0) {
        return in_words(room.f_flag & ST_RDONLY ? EROFS : ENOSPC);
    }
    if (mkdtemp(path) == NULL) {
        return in_words(errno);
    }
    snprintf(file, sizeof(file), "%s/" NEW_LOCK, path);
    snprintf(kept, sizeof(kept), "%s/" LOCK, path);
    /* Without O_CLOEXEC, so that the child inherits it and holds the lock too. It is never closed: the kernel
     * releases the lock when the last of both processes has ended, however that happens. */
    lock = open(file, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (lock < 0) {
        why = in_words(errno);
        rmdir(path);
        return why;
    }
    /* Reserve the space in the lock's file, which shows what we really get: statvfs knows nothing of quotas. Other
     * errors only mean that the file system cannot do this. */
    if (fallocate(lock, 0, 0, (off_t)size) < 0 && (errno == ENOSPC || errno == EDQUOT)) {
        why = in_words(errno);
    /* Libraries are mapped as executable. On a noexec mount that fails, so try it with a page of this file. */
    } else if ((page = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, lock, 0)) == MAP_FAILED) {
        why = errno == EPERM || errno == EACCES ? "is mounted noexec" : in_words(errno);
    } else {
        munmap(page, PAGE);
        /* Give the space back for the files, lock, and only then take the name that others look for. */
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

/* Make the folder in the first place that can be used. Where there is none, print one line that says why of each,
 * and exit with status 1. */
void
tunrouter_make_folder(struct PYI_CONTEXT *pyi_ctx)
{
    const char *places[] = {
        getenv("TMPDIR"), getenv("TEMP"), getenv("TMP"), "/tmp", "/var/tmp", getenv("XDG_RUNTIME_DIR"), "/run", "/dev/shm"
    };
    unsigned long long size = needed(pyi_ctx);
    char said[MOST_TEXT] = "";
    size_t i, j;

    hold_signals(); /* from here on there is something to be removed */
    for (i = 0; i < COUNT(places); i++) {
        char place[PYI_PATH_MAX];
        const char *why;

        /* A place named twice (TMPDIR=/tmp) is tried and reported once; j == i means it is new. */
        for (j = 0; j < i && (places[i] == NULL || places[j] == NULL || strcmp(places[i], places[j])); j++) {}
        if (j < i || places[i] == NULL || !places[i][0] || realpath(places[i], place) == NULL) {
            if (j == i && places[i] != NULL && places[i][0]) {
                append(said, "%s %s, ", places[i], in_words(errno));
            }
            continue;
        }
        clear_stale(place); /* first, since the space that we need may be in left-over folders */
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

/* In the child, before anything else: see to it that it ends with the parent, even by kill -9. Otherwise it would
 * live on with the ports and the device, and a new tunrouter could not start. */
void
tunrouter_end_with(unsigned int parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != (pid_t)parent) { /* the parent ended before prctl, so no signal will come */
        _exit(1);
    }
}

static int releasing;

/* The signals that end a program, or make it reload. */
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

/* Block these signals until there is a child. One that ended us during unpacking would leave the files behind. */
static void
hold_signals(void)
{
    sigset_t signals = ends_it();

    sigprocmask(SIG_BLOCK, &signals, NULL);
}

/* In both processes, once there is a child: unblock the signals. Those that came meanwhile are delivered to the
 * parent at this moment, and it passes them on; `releasing` says that these are late ones (see below). */
void
tunrouter_release_signals(void)
{
    sigset_t signals = ends_it();

    releasing = 1;
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    releasing = 0;
}

/* In the parent: whether the child has got this signal already, so that it must not be passed on. Signals from the
 * kernel (Ctrl-C, a terminal that was closed) go to the whole process group. To the child a second one would mean
 * "end at once, without waiting for sessions". A late signal came before there was a child, so it has not got it. */
int
tunrouter_child_has_it(const siginfo_t *about)
{
    return !releasing && about->si_code == SI_KERNEL && getpgid(global_pyi_ctx->child_pid) == getpgrp();
}
