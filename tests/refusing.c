/* File systems that refuse: loaded before the C library, calls named in REFUSED fail below the folder
 * REFUSED_IN.  REFUSED is a list such as "fsync-folder=22,chmod=1": what fails, and errno. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int code_of(const char *call) {
    const char *list = getenv("REFUSED");
    size_t length = strlen(call);
    for (const char *at = list; at; at = strchr(at, ',')) {
        if (*at == ',') at++;
        if (!strncmp(at, call, length) && at[length] == '=') return atoi(at + length + 1);
    }
    return 0;
}

static int refused(const char *call, const char *path) {
    const char *folder = getenv("REFUSED_IN");
    int code = code_of(call);
    if (!code || !folder || strncmp(path, folder, strlen(folder))) return 0;
    errno = code;
    return 1;
}

static int refused_open(const char *call, int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return refused(call, path);
}

int fsync(int file) {
    REAL(fsync);
    struct stat status;
    int folder = !fstat(file, &status) && S_ISDIR(status.st_mode);
    return refused_open(folder ? "fsync-folder" : "fsync-file", file) ? -1 : real(file);
}

int chown(const char *path, uid_t user, gid_t group) {
    REAL(chown);
    return refused("chown", path) ? -1 : real(path, user, group);
}

int chmod(const char *path, mode_t mode) {
    REAL(chmod);
    return refused("chmod", path) ? -1 : real(path, mode);
}

int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    REAL(fchmodat);
    return refused("chmod", path) ? -1 : real(folder, path, mode, flags);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    REAL(utimensat);
    return path && refused("utimensat", path) ? -1 : real(folder, path, times, flags);
}
