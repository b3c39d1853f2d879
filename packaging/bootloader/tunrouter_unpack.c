/*
 * Unpacking of the one-file executable: where to, which files, its cleaning up, its signals, its environment. What
 * PyInstaller's bootloader does not do for us.
 *
 * Knows: mount options, limits, locks, the two processes of a one-file program, which files quick commands need.
 * Refuses to know: everything else about the files in the executable.
 *
 *     parent   makes DIR/_MEIppppppppxxxxxx, unpacks into it, forwards signals, waits for the child, removes it
 *       child  the same executable started once more: Python and the program
 *
 * Both hold two locks (flock) as long as they live: on DIR/_MEI..., and on DIR/_MEI.../tunrouter.lock. The first one
 * is for cleaners of /tmp: systemd-tmpfiles leaves a directory alone that somebody has locked. The second one is for
 * us. The name of its file tells that a directory is a tunrouter's, and a process that can take both locks may remove
 * the directory, because no process uses it any more: kill -9 leaves directories behind. The file is locked first and
 * gets its name afterwards, so no other process ever sees it unlocked while the directory is in use.
 */

#define _GNU_SOURCE /* fallocate, environ */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "pyi_archive.h"
#include "pyi_launch.h"
#include "pyi_main.h"
#include "pyi_utils.h"
#include "tunrouter_unpack.h"

#define LOCK "tunrouter.lock"
#define NEW_LOCK ".lock"
#define NAME_LENGTH 18 /* _MEI, the parent's pid in 8 hex digits, 6 letters of mkdtemp's, as pyi_security.c expects */
#define PAGE 4096
#define MOST_TEXT 2048
#define MOST_VARIABLE 131072 /* execve takes no longer ones */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void open_standard_descriptors(void);
static void need_memory(void);
static void need_to_read_ourselves(void);
static void set_aside_environment(void);
static int is_child(void);

/* The folder and the lock in it, open and locked as long as this process lives; -1 before there is one. */
static int folder = -1, lock = -1;

/* The caller's umask, which the child gets back. With some (0177) we could not enter our own folder. */
static mode_t callers_umask;

/* Both processes begin with this, before anything else is opened or read. */
void
tunrouter_begin(void)
{
    open_standard_descriptors();
    need_memory();
    need_to_read_ourselves();
    tunrouter_hold_signals();
    set_aside_environment();
    if (!is_child()) {
        callers_umask = umask(077);
    }
}

/* Open what is missing of descriptors 0 to 2 on /dev/null, before anything else is opened. The executable's file
 * or the lock would take the number, and error messages and the log would go into it (`2>&-`). Both processes do
 * it, and the program once more (lib/cli_descriptors.py), for a checkout has no bootloader. */
static void
open_standard_descriptors(void)
{
    int number;

    for (number = 0; number <= 2; number++) {
        /* open takes the lowest number that is free; where there is no /dev, a directory keeps it from others */
        if (fcntl(number, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) {
            (void)open("/", O_RDONLY);
        }
    }
}

/* What Python needs before it can say in one line what it lacks; below that it ends in the middle of something.
 * With more than this, tunrouter.py says the same. */
static const struct {
    int resource;
    rlim_t least;
    const char *option;
} MEMORY[] = {{RLIMIT_AS, 20 << 20, "-v"}, {RLIMIT_DATA, 12 << 20, "-d"}};

static void
need_memory(void)
{
    struct rlimit limit;
    size_t i;

    for (i = 0; i < COUNT(MEMORY); i++) {
        if (getrlimit(MEMORY[i].resource, &limit) == 0 && limit.rlim_cur < MEMORY[i].least) {
            fprintf(stderr, "error: not enough memory: see ulimit %s, or the limit of the container or unit\n", MEMORY[i].option);
            exit(1);
        }
    }
}

/* A file that may be executed and not be read (mode 0711) begins, and cannot unpack what it contains. */
static void
need_to_read_ourselves(void)
{
    const char *name = (const char *)getauxval(AT_EXECFN);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    if (file >= 0) {
        close(file);
    } else if (errno == EACCES) {
        name = name == NULL ? "the executable" : name;
        fprintf(stderr, "error: %s may be executed, but not read, and it contains all that it runs: chmod a+r %s\n", name, name);
        exit(1);
    }
}

/* --- the environment ----------------------------------------------------------------------------- */

/* The variables that are documented (tunrouter man, ENVIRONMENT). Others change what the dynamic linker, glibc, Python,
 * OpenSSL or gevent do: LD_PRELOAD, MALLOC_CHECK_, OPENSSL_CONF, GEVENT_LOOP, PURE_PYTHON and some hundred more. The same
 * list is in lib/service_environment.py (READ); tests/unit/test_service_environment.py compares them. */
static const char *const READ[] = {
    "COLORTERM", "COLUMNS", "GOST_API", "GOST_LOGGER_LEVEL", "GOST_METRICS", "HOME", "LINES", "NOTIFY_SOCKET", "NO_COLOR",
    "PATH", "SOURCE_DATE_EPOCH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP", "TERM", "TMP", "TMPDIR", "TZ", "WATCHDOG_PID",
    "WATCHDOG_USEC", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"
};

/* What the other variables are called from here on: a configuration may refer to them by name (${env:NAME}), and
 * nothing else knows them by this one. */
#define SET_ASIDE "TUNROUTER_CALLER_"

/* Tells the child that it is one: its pid, set between fork and exec. PyInstaller's own variables do not tell, for a
 * program that was made with PyInstaller, and starts us, leaves us its own. */
#define CHILD "_PYI_TUNROUTER_CHILD"

void
tunrouter_mark_child(void)
{
    char pid[24];

    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    setenv(CHILD, pid, 1);
    umask(callers_umask);
}

static int
is_child(void)
{
    const char *pid = getenv(CHILD);

    return pid != NULL && strtol(pid, NULL, 10) == (long)getpid();
}

static int
is_read(const char *variable, size_t name_length)
{
    size_t i;

    for (i = 0; i < COUNT(READ); i++) {
        if (strlen(READ[i]) == name_length && !strncmp(variable, READ[i], name_length)) {
            return 1;
        }
    }
    return 0;
}

/* In the parent: give every variable that is not documented its other name. The child, and what it loads, begins with
 * an environment in which only documented ones have theirs. */
static void
set_aside_environment(void)
{
    char **old = environ, **new;
    size_t count = 0, i;

    if (is_child()) {
        return;
    }
    while (old[count] != NULL) {
        count++;
    }
    new = calloc(count + 1, sizeof(*new));
    if (new == NULL) {
        clearenv();
        return;
    }
    for (i = 0, count = 0; old[i] != NULL; i++) {
        size_t length = strlen(old[i]), name_length = strcspn(old[i], "=");

        if (is_read(old[i], name_length)) {
            new[count++] = old[i];
        } else if (old[i][name_length] == '=' && name_length > 0 && length + sizeof(SET_ASIDE) <= MOST_VARIABLE) {
            new[count] = malloc(length + sizeof(SET_ASIDE));
            if (new[count] != NULL) {
                memcpy(new[count], SET_ASIDE, sizeof(SET_ASIDE) - 1);
                memcpy(new[count] + sizeof(SET_ASIDE) - 1, old[i], length + 1);
                count++;
            }
        }
    }
    environ = new;
}

/* --- folders that a kill -9 left behind --------------------------------------------------------- */

/* Remove everything in a directory but the entry `keep`, and close its descriptor. By descriptors and without
 * following links, so that nobody who may write to /tmp can make us remove something else by swapping a directory for
 * a link; one for each level, for there may be few. */
static void
remove_content(int directory, const char *keep)
{
    DIR *listing = fdopendir(directory);
    struct dirent *entry;

    if (listing == NULL) {
        close(directory);
        return;
    }
    rewinddir(listing); /* a copy of a descriptor shares its position */
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
    int file = -1;

    if (directory < 0) {
        return;
    }
    if (is_ours(directory, S_IFDIR)) {
        file = openat(directory, LOCK, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    }
    /* A tunrouter of before 2026-11-26 locked the file only, so both are asked. */
    if (file >= 0 && is_ours(file, S_IFREG) && flock(file, LOCK_EX | LOCK_NB) == 0 && flock(directory, LOCK_EX | LOCK_NB) == 0) {
        int copy = dup(directory);

        /* The lock goes last: if we are interrupted, the next process can still tell that the folder is ours. */
        if (copy >= 0) {
            remove_content(copy, LOCK);
        }
        unlinkat(directory, LOCK, 0);
        unlinkat(place, name, AT_REMOVEDIR);
    }
    if (file >= 0) {
        close(file);
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
    "-h", "--help", "-V", "--version", "status", "drops", "routes", "kick", "drain", "top", "health",
    "invite", "hosts", "revoke"
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

/* What unpacking needs. */
struct need {
    unsigned long long bytes; /* on disk: every file in whole pages and one more, and some pages for directories */
    unsigned long long largest; /* bytes of the largest file */
    unsigned long long files; /* files and directories */
};

static struct need
needed(const struct PYI_CONTEXT *pyi_ctx)
{
    const struct ARCHIVE *archive = pyi_ctx->archive;
    const struct TOC_ENTRY *entry;
    struct need need = {64 * PAGE, 0, 64};

    for (entry = archive->toc; entry < archive->toc_end; entry = pyi_archive_next_toc_entry(archive, entry)) {
        if (strchr("bxZn", entry->typecode) != NULL && tunrouter_needs(pyi_ctx, entry->name)) { /* what pyi_launch_extract_files_from_archive unpacks */
            need.bytes += (entry->uncompressed_length / PAGE + 2) * PAGE;
            need.files++;
            if (entry->uncompressed_length > need.largest) {
                need.largest = entry->uncompressed_length;
            }
        }
    }
    return need;
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
        case EWOULDBLOCK: return "is being cleaned up";
        default: return strerror(number);
    }
}

/* Whether a file system has this little room, as the end of a sentence; NULL if not, or if it does not say. */
static const char *
lack_of_room(const char *place, const struct need *need)
{
    struct statvfs room;

    /* Some report no blocks at all, or no inodes: those have as many as they need. */
    if (statvfs(place, &room) < 0) {
        return NULL;
    }
    if (room.f_blocks > 0 && (unsigned long long)room.f_bavail * room.f_frsize < need->bytes) {
        return in_words(room.f_flag & ST_RDONLY ? EROFS : ENOSPC);
    }
    if (room.f_files > 0 && room.f_favail < need->files) {
        return "has no inodes left";
    }
    return NULL;
}

/* Lock the folder. A cleaner that looks into it just now has it locked too, for some milliseconds. */
static int
lock_folder(void)
{
    const struct timespec pause = {0, 10 * 1000 * 1000};
    int tries;

    for (tries = 0; flock(folder, LOCK_EX | LOCK_NB) < 0; tries++) {
        if (errno != EWOULDBLOCK || tries == 200) {
            return -1;
        }
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* Remove the folder, if there is one, and give up its locks: its content by descriptor, and its name only where that is
 * still our folder. Somebody may have removed it while the program ran, and in /tmp anybody may then have made another
 * one. Returns -1 where it stays. */
int
tunrouter_remove_folder(const char *path)
{
    struct stat ours, there;
    int is_there, known;

    if (folder < 0) {
        return 0;
    }
    known = fstat(folder, &ours) == 0;
    if (lock >= 0) {
        close(lock);
    }
    remove_content(folder, NULL);
    folder = lock = -1;
    is_there = known && lstat(path, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
    return is_there ? rmdir(path) : 0;
}

/* Make the folder in a place, with its locks held. Returns NULL, or why it cannot be used; nothing is left there
 * then. A place is tried out before anything is unpacked, which takes longer than this. */
static const char *
make_in(const char *place, const struct need *need, char *path)
{
    char file[PYI_PATH_MAX + sizeof(LOCK) + 1], kept[sizeof(file)];
    const char *why;
    struct rlimit most;
    unsigned long long size = need->bytes;
    void *page;

    if (snprintf(path, PYI_PATH_MAX, "%s/_MEI%08xXXXXXX", place, (unsigned int)getpid()) >= PYI_PATH_MAX - 64) {
        return in_words(ENAMETOOLONG);
    }
    why = lack_of_room(place, need);
    if (why != NULL) {
        return why;
    }
    if (mkdtemp(path) == NULL) {
        return in_words(errno);
    }
    snprintf(file, sizeof(file), "%s/" NEW_LOCK, path);
    snprintf(kept, sizeof(kept), "%s/" LOCK, path);
    /* Both without O_CLOEXEC, so that the child inherits them and holds the locks too. They are never closed: the
     * kernel releases a lock when the last of both processes has ended, however that happens. */
    folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    lock = folder < 0 || lock_folder() < 0 ? -1 : open(file, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (lock < 0) {
        why = in_words(errno);
    } else {
        if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < size) {
            size = most.rlim_cur; /* as much as one file may have */
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
    }
    if (why != NULL) {
        if (folder < 0) {
            rmdir(path);
        }
        tunrouter_remove_folder(path);
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

/* Why places could not be used, "PLACE WHY, " for each; and how many of them have been tried. */
static char said[MOST_TEXT];
static size_t tried;

/* Say of all places why they cannot be used, in one line, and exit with status 1. */
static void
give_up(const struct need *need)
{
    fprintf(
        stderr,
        "error: no place to unpack to: %s"
        "so set TMPDIR=/some/dir: writable, not mounted noexec, with %llu MB and %llu inodes free\n",
        said, (need->bytes + 999999) / 1000000, need->files
    );
    exit(1);
}

/* Make the folder in the first place that can be used, of those not tried yet. Exits where there is none. */
void
tunrouter_make_folder(struct PYI_CONTEXT *pyi_ctx)
{
    const char *places[] = {
        getenv("TMPDIR"), getenv("TEMP"), getenv("TMP"), "/tmp", "/var/tmp", getenv("XDG_RUNTIME_DIR"), "/run", "/dev/shm"
    };
    struct need need = needed(pyi_ctx);
    struct rlimit most;
    size_t j;

    /* The same in every place, so none is tried. */
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < need.largest) {
        fprintf(
            stderr,
            "error: cannot unpack: no file here may have more than %llu kB (ulimit -f, RLIMIT_FSIZE), and the largest has %llu kB\n",
            (unsigned long long)most.rlim_cur / 1000, need.largest / 1000
        );
        exit(1);
    }
    for (; tried < COUNT(places); tried++) {
        const char *named = places[tried], *why;
        char place[PYI_PATH_MAX];

        /* A place named twice (TMPDIR=/tmp) is tried and reported once; j == tried means it is new. */
        for (j = 0; j < tried && (named == NULL || places[j] == NULL || strcmp(named, places[j])); j++) {}
        if (j < tried || named == NULL || !named[0]) {
            continue;
        }
        if (realpath(named, place) == NULL) {
            append(said, "%s %s, ", named, in_words(errno));
            continue;
        }
        clear_stale(place); /* first, since the space that we need may be in left-over folders */
        why = make_in(place, &need, pyi_ctx->application_home_dir);
        if (why == NULL) {
            tried++;
            return;
        }
        append(said, "%s %s, ", named, why);
    }
    give_up(&need);
}

/* Unpack into the folder. Where that fails half way, remove it and go on with the next place: what a quota allows, or
 * what others take meanwhile, nobody knows before. What PyInstaller prints of it comes only where the system has no
 * reason to give, for then the executable itself is broken. */
void
tunrouter_unpack(struct PYI_CONTEXT *pyi_ctx)
{
    FILE *console = stderr;

    for (;;) {
        char *text = NULL, *end;
        size_t length = 0;
        FILE *kept = open_memstream(&text, &length);
        int result, number;

        if (kept != NULL) {
            stderr = kept;
        }
        errno = 0;
        result = pyi_launch_extract_files_from_archive(pyi_ctx);
        number = errno;
        stderr = console;
        if (kept != NULL) {
            fclose(kept);
        }
        if (result == 0) {
            free(text);
            return;
        }
        tunrouter_remove_folder(pyi_ctx->application_home_dir);
        if (number == 0) {
            fprintf(stderr, "%serror: cannot unpack to %s\n", text == NULL ? "" : text, pyi_ctx->application_home_dir);
            exit(1);
        }
        free(text);
        end = strrchr(pyi_ctx->application_home_dir, '/');
        append(said, "%.*s %s, ", (int)(end - pyi_ctx->application_home_dir), pyi_ctx->application_home_dir, in_words(number));
        tunrouter_make_folder(pyi_ctx);
        setenv("_PYI_APPLICATION_HOME_DIR", pyi_ctx->application_home_dir, 1);
    }
}

/* --- the two processes -------------------------------------------------------------------------- */

/* In the child, before anything else: see to it that it ends with the parent, even by kill -9. Otherwise it would
 * live on with the ports and the device, and a new tunrouter could not start. */
static void release_all_but_the_program_s(void);

void
tunrouter_end_with(unsigned int parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != (pid_t)parent) { /* the parent ended before prctl, so no signal will come */
        _exit(1);
    }
    release_all_but_the_program_s();
}

/* The signals that wait until the program itself can do what they ask for. Python would answer SIGINT with a
 * traceback, and the others would end a process that is about to obey them (lib/service_signals.py). */
static const int FOR_THE_PROGRAM[] = {SIGHUP, SIGINT, SIGUSR1};

static int releasing;

/* Hold back every signal until there is a child, until the child is sure to end with its parent, and once it has ended.
 * One that ended us while we unpack or clean up would leave files behind. Those stay that report an error of ours, and those for which a
 * terminal stops us. Whatever mask we began with: a caller that has blocked SIGTERM has not meant us. */
void
tunrouter_hold_signals(void)
{
    static const int never[] = {
        SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD
    };
    sigset_t signals;
    size_t i;

    sigfillset(&signals);
    for (i = 0; i < COUNT(never); i++) {
        sigdelset(&signals, never[i]);
    }
    sigprocmask(SIG_SETMASK, &signals, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file too large (ulimit -f) shall be an error that we can tell; Python does this too */
    signal(SIGCHLD, SIG_DFL); /* who inherits that it is ignored cannot wait for a child */
}

/* In the parent, once there is a child and every signal is passed on to it: unblock them. Those that came meanwhile
 * are delivered at this moment; `releasing` says that these are late ones (see below). */
void
tunrouter_release_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    releasing = 1;
    sigprocmask(SIG_SETMASK, &none, NULL);
    releasing = 0;
}

/* In the parent, which has removed the folder: end by the signal that the child has ended by. */
void
tunrouter_end_by(int number)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, number);
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    raise(number);
}

/* In the child: unblock all but those for which the program has to be ready. */
static void
release_all_but_the_program_s(void)
{
    sigset_t signals;
    size_t i;

    sigemptyset(&signals);
    for (i = 0; i < COUNT(FOR_THE_PROGRAM); i++) {
        sigaddset(&signals, FOR_THE_PROGRAM[i]);
    }
    sigprocmask(SIG_SETMASK, &signals, NULL);
}

/* In the parent: whether the child has got this signal already, so that it must not be passed on. Signals from the
 * kernel (Ctrl-C, a terminal that was closed) go to the whole process group. To the child a second one would mean
 * "end at once, without waiting for sessions". A late signal came before there was a child, so it has not got it. */
int
tunrouter_child_has_it(const siginfo_t *about)
{
    return !releasing && about->si_code == SI_KERNEL && getpgid(global_pyi_ctx->child_pid) == getpgrp();
}
