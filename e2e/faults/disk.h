/* A disk that honours nothing but a sync: see disk.c. */
#include <sys/types.h>

/* A sync of a file that is remembered. `file` is negative for any other. */
struct disk_sync {
    int file;
    off_t mark;
};

/* Whether the switch of that name is there; up to `size` bytes of what it holds come into `text`. */
int switch_is_on(const char *name, char *text, size_t size);

/* The name of the remembered file that a descriptor leads to, or a null pointer. */
const char *disk_name(int fd);

/* To be called before a sync of a file and after it, with whether it succeeded. */
struct disk_sync disk_sync_begins(int fd);
void disk_sync_ends(struct disk_sync sync, int fd, int succeeded);
