/* Remembers what was written since the last successful sync of each file in the folder FAULTS_DISK.
 *
 * The journal of a file lies in FAULTS_DIR, outside of the process's memory, so that it outlives a kill -9. It begins
 * with the place up to which all is synced, and holds a record for each write and each change of size behind that:
 * what stood there before. A sync that fails drops all that is not synced at once; the harness drops a random part of
 * it where it cuts the power. Names of files are taken to be on the disk at once, as those of a file system are that
 * keeps a journal of them. What SQLite shares between processes (-shm) is memory and not remembered.
 */
#define _GNU_SOURCE
#include "disk.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Read by power.rs too. */
struct record {
    int64_t offset, length, old_length, old_size;
};

struct file {
    char name[256];
    int journal;
    /* Where the next record goes. */
    off_t end;
};

enum { MOST_FILES = 32, MOST_DESCRIPTORS = 65536, HEADER = 8 };

static struct file files[MOST_FILES];
static int file_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Of each descriptor: 0 if nothing is known, -1 if it is not remembered, else 1 + the file's index. */
static signed char known[MOST_DESCRIPTORS];

static void give_up(const char *what)
{
    perror(what);
    abort();
}

static void read_at(int fd, void *into, size_t length, off_t offset)
{
    for (size_t done = 0; done < length;) {
        long count = syscall(SYS_pread64, fd, (char *)into + done, length - done, offset + (off_t)done);
        if (count <= 0)
            give_up("the disk's journal: read");
        done += (size_t)count;
    }
}

static void write_at(int fd, const void *from, size_t length, off_t offset)
{
    for (size_t done = 0; done < length;) {
        long count = syscall(SYS_pwrite64, fd, (const char *)from + done, length - done, offset + (off_t)done);
        if (count <= 0)
            give_up("the disk's journal: write");
        done += (size_t)count;
    }
}

static off_t size_of(int fd)
{
    struct stat what;
    if (fstat(fd, &what))
        give_up("the disk's journal: stat");
    return what.st_size;
}

static off_t synced_up_to(int journal)
{
    int64_t place = HEADER;
    if (size_of(journal) >= HEADER)
        read_at(journal, &place, sizeof place, 0);
    return place;
}

static void set_synced_up_to(int journal, off_t place)
{
    int64_t value = place;
    write_at(journal, &value, sizeof value, 0);
}

/* The first place behind `place` that no whole record covers, or the one record there. */
static int next_record(int journal, off_t size, off_t place, struct record *record)
{
    if (place + (off_t)sizeof *record > size)
        return 0;
    read_at(journal, record, sizeof *record, place);
    return place + (off_t)sizeof *record + record->old_length <= size;
}

static int open_file(const char *name)
{
    char path[4096];
    struct record record;
    struct file *file = &files[file_count];
    for (int index = 0; index < file_count; index++)
        if (!strcmp(files[index].name, name))
            return index;
    if (file_count == MOST_FILES || strlen(name) >= sizeof file->name ||
        snprintf(path, sizeof path, "%s/journal-%s", getenv("FAULTS_DIR"), name) >= (int)sizeof path)
        give_up("the disk's journal: too many files");
    strcpy(file->name, name);
    file->journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file->journal < 0)
        give_up("the disk's journal: open");
    file->end = synced_up_to(file->journal);
    set_synced_up_to(file->journal, file->end);
    /* A record that a kill -9 tore is behind the end: its write had not begun. */
    off_t size = size_of(file->journal);
    while (next_record(file->journal, size, file->end, &record))
        file->end += (off_t)sizeof record + record.old_length;
    return file_count++;
}

/* The index of the file that a descriptor leads to, or -1. To be called with the lock held. */
static int file_of(int fd)
{
    const char *folder = getenv("FAULTS_DISK");
    char link[64], path[4096];
    struct stat what;
    if (!folder || fd < 0 || fd >= MOST_DESCRIPTORS)
        return -1;
    if (known[fd])
        return known[fd] < 0 ? -1 : known[fd] - 1;
    known[fd] = -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long count = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (count <= 0 || fstat(fd, &what) || !S_ISREG(what.st_mode))
        return -1;
    path[count] = 0;
    size_t above = strlen(folder);
    if (strncmp(path, folder, above) || path[above] != '/' || strstr(path, "-shm"))
        return -1;
    int index = open_file(path + above + 1);
    known[fd] = (signed char)(index + 1);
    return index;
}

static int is_unknown_or_remembered(int fd)
{
    return fd < 0 || fd >= MOST_DESCRIPTORS || known[fd] >= 0;
}

/* Notes what stands in the range, as far as the file has it, and the file's size. */
static void remember(struct file *file, int fd, off_t offset, off_t length)
{
    off_t size = size_of(fd);
    off_t there = size <= offset ? 0 : size - offset < length ? size - offset : length;
    struct record record = {offset, length, there, size};
    char *buffer = malloc(sizeof record + (size_t)there);
    if (!buffer)
        give_up("the disk's journal: memory");
    memcpy(buffer, &record, sizeof record);
    if (there > 0)
        read_at(fd, buffer + sizeof record, (size_t)there, offset);
    write_at(file->journal, buffer, sizeof record + (size_t)there, file->end);
    file->end += (off_t)sizeof record + there;
    free(buffer);
}

/* Undoes all that is not synced, the last first. */
static void drop(struct file *file, int fd)
{
    off_t size = size_of(file->journal), place = synced_up_to(file->journal);
    struct record record;
    size_t count = 0, room = 0;
    off_t *places = NULL;
    while (place < file->end && next_record(file->journal, size, place, &record)) {
        if (count == room) {
            room = room ? 2 * room : 1024;
            places = realloc(places, room * sizeof *places);
            if (!places)
                give_up("the disk's journal: memory");
        }
        places[count++] = place;
        place += (off_t)sizeof record + record.old_length;
    }
    while (count-- > 0) {
        read_at(file->journal, &record, sizeof record, places[count]);
        char *old = malloc((size_t)record.old_length + 1);
        if (!old)
            give_up("the disk's journal: memory");
        read_at(file->journal, old, (size_t)record.old_length, places[count] + (off_t)sizeof record);
        write_at(fd, old, (size_t)record.old_length, record.offset);
        free(old);
        if (syscall(SYS_ftruncate, fd, record.old_size))
            give_up("the disk's journal: truncate");
    }
    free(places);
}

/* Begins the journal anew: the old records go first, so that a kill in between leaves none that is hidden. */
static void clear(struct file *file)
{
    if (syscall(SYS_ftruncate, file->journal, HEADER))
        give_up("the disk's journal: truncate");
    set_synced_up_to(file->journal, HEADER);
    file->end = HEADER;
}

const char *disk_name(int fd)
{
    pthread_mutex_lock(&lock);
    int index = file_of(fd);
    pthread_mutex_unlock(&lock);
    return index < 0 ? NULL : files[index].name;
}

struct disk_sync disk_sync_begins(int fd)
{
    struct disk_sync sync = {-1, 0};
    pthread_mutex_lock(&lock);
    sync.file = file_of(fd);
    if (sync.file >= 0)
        sync.mark = files[sync.file].end;
    pthread_mutex_unlock(&lock);
    return sync;
}

void disk_sync_ends(struct disk_sync sync, int fd, int succeeded)
{
    if (sync.file < 0)
        return;
    int saved = errno;
    struct file *file = &files[sync.file];
    pthread_mutex_lock(&lock);
    if (!succeeded)
        drop(file, fd);
    if (!succeeded || sync.mark == file->end)
        clear(file);
    else if (sync.mark > synced_up_to(file->journal) && sync.mark < file->end)
        /* What was written while the sync went on may not be on the disk. */
        set_synced_up_to(file->journal, sync.mark);
    pthread_mutex_unlock(&lock);
    errno = saved;
}

/* Fails a write with the number in the switch writes-fail, if it is on. */
static int write_fails(void)
{
    char text[16] = {0};
    if (!switch_is_on("writes-fail", text, sizeof text - 1))
        return 0;
    errno = atoi(text);
    return 1;
}

static ssize_t written(int fd, const void *from, size_t length, off_t offset, int is_at)
{
    long call = is_at ? SYS_pwrite64 : SYS_write;
    ssize_t count = -1;
    if (!is_unknown_or_remembered(fd))
        return is_at ? syscall(call, fd, from, length, offset) : syscall(call, fd, from, length);
    pthread_mutex_lock(&lock);
    int index = file_of(fd);
    if (index < 0) {
        /* Others may block, so not with the lock held. */
        pthread_mutex_unlock(&lock);
        return is_at ? syscall(call, fd, from, length, offset) : syscall(call, fd, from, length);
    }
    if (!write_fails()) {
        remember(&files[index], fd, is_at ? offset : lseek(fd, 0, SEEK_CUR), (off_t)length);
        count = is_at ? syscall(call, fd, from, length, offset) : syscall(call, fd, from, length);
    }
    pthread_mutex_unlock(&lock);
    return count;
}

ssize_t write(int fd, const void *from, size_t length) { return written(fd, from, length, 0, 0); }

ssize_t pwrite(int fd, const void *from, size_t length, off_t offset)
{
    return written(fd, from, length, offset, 1);
}

ssize_t pwrite64(int fd, const void *from, size_t length, off_t offset)
{
    return written(fd, from, length, offset, 1);
}

int ftruncate(int fd, off_t length)
{
    int result = -1;
    pthread_mutex_lock(&lock);
    int index = file_of(fd);
    if (index < 0 || !write_fails()) {
        if (index >= 0) {
            off_t size = size_of(fd);
            if (length < size)
                remember(&files[index], fd, length, size - length);
            else if (length > size)
                remember(&files[index], fd, size, length - size);
        }
        result = (int)syscall(SYS_ftruncate, fd, length);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int close(int fd)
{
    if (fd >= 0 && fd < MOST_DESCRIPTORS)
        known[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

/* A file of that name that is made later is another one. */
int unlink(const char *path)
{
    const char *folder = getenv("FAULTS_DISK");
    size_t above = folder ? strlen(folder) : 0;
    if (folder && !strncmp(path, folder, above) && path[above] == '/') {
        pthread_mutex_lock(&lock);
        for (int index = 0; index < file_count; index++)
            if (!strcmp(files[index].name, path + above + 1))
                clear(&files[index]);
        pthread_mutex_unlock(&lock);
    }
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
