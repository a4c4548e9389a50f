/* Faults on demand, by LD_PRELOAD: files in the folder FAULTS_DIR switch them while the program runs.
 *
 *   fsync-fails    exists: fsync, fdatasync and sync_file_range fail with EIO
 *   clock-offset   holds so many seconds that the wall clock is ahead
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int open_switch(const char *name)
{
    const char *folder = getenv("FAULTS_DIR");
    char path[4096];
    int saved = errno, fd;
    if (!folder || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return -1;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    errno = saved;
    return fd;
}

static int fails(void)
{
    int fd = open_switch("fsync-fails");
    if (fd < 0)
        return 0;
    close(fd);
    errno = EIO;
    return 1;
}

static long ahead(void)
{
    char text[32] = {0};
    long count = 0;
    int fd = open_switch("clock-offset");
    if (fd < 0)
        return 0;
    count = (long)read(fd, text, sizeof text - 1);
    close(fd);
    return count > 0 ? atol(text) : 0;
}

int fsync(int fd) { return fails() ? -1 : (int)syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return fails() ? -1 : (int)syscall(SYS_fdatasync, fd); }

int sync_file_range(int fd, off_t offset, off_t count, unsigned flags)
{
    return fails() ? -1 : (int)syscall(SYS_sync_file_range, fd, offset, count, flags);
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
