/* wire.c - a wire with delay, loss and a rate between two network namespaces, for kernels without netem.
 *
 *   wire NS1 DEV1 NS2 DEV2 key=value...
 *
 * It makes a TUN device in each namespace, for the caller to bring up, and carries packets between them. Keys:
 *   delay=MS    each way                          queue=MS   how long a packet may wait for its turn before it is
 *   loss=PERCENT  each way, independent                      dropped at the tail (default 50)
 *   rate=TO/FROM  Mbit/s from NS1 to NS2 and back; 0 is no limit
 *   udp=on|off  whether UDP passes                seed=N     of the dice
 * It says "ready", then obeys lines of such keys from stdin and answers each with "now ...". When stdin ends, or on
 * SIGTERM, it says what was carried, lost, dropped at the queue and blocked each way, and ends.
 *
 * Packets that wait already keep the time they were given when a new rate comes: at most that queue is old. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PLACES 65536 /* a power of two; 60 ms of 64-byte packets at 500 Mbit/s */
#define LONGEST 2048
#define BATCH 64

static struct way {
  int in, out;
  double mbit;
  unsigned head, tail;
  int64_t free_at; /* when the last packet that waits has been sent */
  long carried, lost, full, blocked;
  struct { int64_t due; unsigned char *data; uint16_t size; } place[PLACES];
} ways[2];

static int64_t delay, queue = 50000000;
static double loss;
static int udp = 1;
static volatile sig_atomic_t over;

static void stop(int number) { (void)number; over = 1; }

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int device(const char *namespace, const char *name) {
  char path[128];
  snprintf(path, sizeof path, "/run/netns/%s", namespace);
  int there = open(path, O_RDONLY);
  if (there < 0 || setns(there, CLONE_NEWNET)) { perror(path); exit(1); }
  close(there);
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  struct ifreq request = {0};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (tun < 0 || ioctl(tun, TUNSETIFF, &request)) { perror(name); exit(1); }
  return tun;
}

static int set(char *key) {
  char *value = strchr(key, '=');
  if (!value) return 0;
  *value++ = 0;
  if (!strcmp(key, "delay")) delay = atof(value) * 1e6;
  else if (!strcmp(key, "queue")) queue = atof(value) * 1e6;
  else if (!strcmp(key, "loss")) loss = atof(value) / 100;
  else if (!strcmp(key, "seed")) srand48(atol(value));
  else if (!strcmp(key, "udp")) udp = strcmp(value, "off") != 0;
  else if (!strcmp(key, "rate")) return sscanf(value, "%lf/%lf", &ways[0].mbit, &ways[1].mbit) == 2;
  else return 0;
  return 1;
}

static void obey(void) { /* a line is short and written at once, so it is read at once */
  char line[256];
  ssize_t size = read(0, line, sizeof line - 1);
  if (size <= 0) { over = 1; return; }
  line[size] = 0;
  int right = 1;
  for (char *word = strtok(line, " \n"); word; word = strtok(0, " \n")) right &= set(word);
  printf(right ? "now rate=%g/%g loss=%g udp=%s\n" : "not understood\n", ways[0].mbit, ways[1].mbit, loss * 100,
         udp ? "on" : "off");
  fflush(stdout);
}

static int is_udp(const unsigned char *packet, ssize_t size) {
  return (packet[0] >> 4 == 4 && size > 9 && packet[9] == 17) || (packet[0] >> 4 == 6 && size > 6 && packet[6] == 17);
}

static void take(struct way *way) { /* what has come to one end: lost, dropped, or given its time at the other end */
  unsigned char packet[LONGEST];
  for (int i = 0; i < BATCH; i++) {
    ssize_t size = read(way->in, packet, sizeof packet);
    if (size <= 0) return;
    if (!udp && is_udp(packet, size)) { way->blocked++; continue; }
    if (drand48() < loss) { way->lost++; continue; }
    int64_t time = now(), begins = way->free_at > time ? way->free_at : time;
    if (begins - time > queue || way->head - way->tail == PLACES) { way->full++; continue; }
    if (way->mbit > 0) begins += size * 8000 / way->mbit;
    way->free_at = begins;
    unsigned n = way->head++ % PLACES;
    way->place[n].due = begins + delay;
    way->place[n].size = size;
    way->place[n].data = malloc(size);
    if (!way->place[n].data) exit(1);
    memcpy(way->place[n].data, packet, size);
  }
}

static int64_t give(struct way *way) { /* what is due; returns when the next is, 0 when nothing is on its way */
  int64_t time = now();
  for (; way->tail != way->head; way->tail++) {
    unsigned n = way->tail % PLACES;
    if (way->place[n].due > time) return way->place[n].due;
    if (write(way->out, way->place[n].data, way->place[n].size) == way->place[n].size) way->carried++;
    else way->full++;
    free(way->place[n].data);
  }
  return 0;
}

int main(int count, char **words) {
  if (count < 5) { fprintf(stderr, "wire NS1 DEV1 NS2 DEV2 key=value...\n"); return 2; }
  for (int i = 5; i < count; i++)
    if (!set(words[i])) { fprintf(stderr, "wire: not understood: %s\n", words[i]); return 2; }
  ways[0].in = ways[1].out = device(words[1], words[2]);
  ways[1].in = ways[0].out = device(words[3], words[4]);
  sigset_t ends, none; /* they come while it waits, and at no other time */
  sigemptyset(&none);
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, 0);
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  prctl(PR_SET_TIMERSLACK, 1);
  struct sched_param first = {1}; /* a real wire waits for no processor */
  if (sched_setscheduler(0, SCHED_RR, &first)) setpriority(PRIO_PROCESS, 0, -20);
  puts("ready");
  fflush(stdout);
  while (!over) {
    int64_t next = 0, due;
    for (int i = 0; i < 2; i++) if ((due = give(&ways[i])) && (!next || due < next)) next = due;
    int64_t wait = next ? next - now() : 0;
    struct timespec until = {wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0};
    struct pollfd sources[] = {{ways[0].in, POLLIN, 0}, {ways[1].in, POLLIN, 0}, {0, POLLIN, 0}};
    if (ppoll(sources, 3, next ? &until : 0, &none) < 0) {
      if (errno == EINTR) continue;
      return 1;
    }
    for (int i = 0; i < 2; i++) if (sources[i].revents & POLLIN) take(&ways[i]);
    if (sources[2].revents) obey();
  }
  for (int i = 0; i < 2; i++)
    printf("%s: %ld carried, %ld lost, %ld dropped at the queue, %ld blocked\n", i ? "back" : "to", ways[i].carried,
           ways[i].lost, ways[i].full, ways[i].blocked);
  return 0;
}
