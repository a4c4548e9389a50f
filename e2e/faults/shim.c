/* Faults on demand, by LD_PRELOAD: files in the folder FAULTS_DIR switch them while the program runs.
 *
 *   fsync-fails    exists: fsync, fdatasync and sync_file_range fail with EIO, and what they were to sync is lost; if it
 *                  holds the name of a file, then only for that one, and once
 *   fsync-hangs    exists: they wait until it is gone
 *   writes-fail    holds the error number with which writes to the remembered files fail (see disk.c)
 *   clock-offset   holds so many seconds that the wall clock is ahead
 */
#define _GNU_SOURCE
#include "disk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int switch_path(const char *name, char *path, size_t size)
{
    const char *folder = getenv("FAULTS_DIR");
    return folder && snprintf(path, size, "%s/%s", folder, name) < (int)size;
}

int switch_is_on(const char *name, char *text, size_t size)
{
    char path[4096];
    int saved = errno, fd = -1;
    if (switch_path(name, path, sizeof path))
        fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (size > 0 && syscall(SYS_read, fd, text, size) < 0)
            text[0] = 0;
        syscall(SYS_close, fd);
    }
    errno = saved;
    return fd >= 0;
}

/* Whether the sync of a file is to fail. */
static int fails(int fd)
{
    char wanted[256] = {0}, path[4096];
    const char *name;
    if (!switch_is_on("fsync-fails", wanted, sizeof wanted - 1))
        return 0;
    if (!wanted[0])
        return 1;
    name = disk_name(fd);
    if (!name || strcmp(name, wanted) || !switch_path("fsync-fails", path, sizeof path))
        return 0;
    /* Whoever takes the switch away is the one that fails. */
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0) == 0;
}

static long ahead(void)
{
    char text[32] = {0};
    return switch_is_on("clock-offset", text, sizeof text - 1) ? atol(text) : 0;
}

static int synced(int fd, long result, struct disk_sync sync)
{
    disk_sync_ends(sync, fd, result == 0);
    return (int)result;
}

/* Waits where it is told to, then fails or begins. */
static int begins(int fd, struct disk_sync *sync)
{
    struct timespec moment = {0, 5000000};
    while (switch_is_on("fsync-hangs", NULL, 0))
        nanosleep(&moment, NULL);
    *sync = disk_sync_begins(fd);
    if (!fails(fd))
        return 1;
    errno = EIO;
    return 0;
}

int fsync(int fd)
{
    struct disk_sync sync;
    return synced(fd, begins(fd, &sync) ? syscall(SYS_fsync, fd) : -1, sync);
}

int fdatasync(int fd)
{
    struct disk_sync sync;
    return synced(fd, begins(fd, &sync) ? syscall(SYS_fdatasync, fd) : -1, sync);
}

/* Begins to write; on the disk it is only with a sync. */
int sync_file_range(int fd, off_t offset, off_t count, unsigned flags)
{
    if (!fails(fd))
        return (int)syscall(SYS_sync_file_range, fd, offset, count, flags);
    errno = EIO;
    return -1;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += ahead();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec fine;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &fine))
        return -1;
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out)
{
    struct timespec fine;
    if (clock_gettime(CLOCK_REALTIME, &fine))
        return -1;
    if (out)
        *out = fine.tv_sec;
    return fine.tv_sec;
}
