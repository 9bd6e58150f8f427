// synced notes how much of each file was synced, so that a test can cut a file to what would be left after a power cut.
// It is preloaded into a server. $STREAMHUB_SYNCED is a directory; a file of it is named after an inode and holds a size.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int note(int fd, int (*sync)(int)) {
	// What is written while the sync runs may not be part of it.
	struct stat before;
	int known = fstat(fd, &before) == 0 && S_ISREG(before.st_mode);
	int result = sync(fd);
	const char *dir = getenv("STREAMHUB_SYNCED");
	if (result != 0 || !known || dir == NULL) return result;
	char path[4096], size[32];
	snprintf(path, sizeof path, "%s/%llu", dir, (unsigned long long)before.st_ino);
	int n = snprintf(size, sizeof size, "%020llu", (unsigned long long)before.st_size);
	int out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (out < 0 || pwrite(out, size, n, 0) != n) abort();
	close(out);
	return 0;
}

int fsync(int fd) {
	static int (*real)(int);
	if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	return note(fd, real);
}

int fdatasync(int fd) {
	static int (*real)(int);
	if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	return note(fd, real);
}
