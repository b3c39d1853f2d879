#define _GNU_SOURCE
/* flood.c - load that does not wait for what has come of it, as many users make it.
 *   flood server PORTS SIZE                 listens on 7000, 7001, ...; sends SIZE bytes to each who has said something, and closes
 *   flood client IP PORTS RATE SECONDS      opens RATE connections a second; says how many were opened and served, and how many
 *                                           of these in the second half of that time; how long half of the served ones took, and 99
 *                                           of 100: "OPENED SERVED LATELY MS MS"
 *   flood count SECONDS                     counts UDP packets to port 7000; ends once none has come for so long: "COUNT"
 *   flood send IP SIZE RATE SECONDS         sends RATE UDP packets a second, of SIZE bytes: "SENT"
 * A connection that is not served within 3 s is given up, as a person would. At most 60,000 are open. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#define MOST 60000
#define PATIENCE 3.0
static char buf[1<<18];
static double now(void){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec+t.tv_nsec/1e9;}
static int by_size(const void*a,const void*b){float x=*(float*)a,y=*(float*)b;return (x>y)-(x<y);}

static int server(int ports,int size){
  int e=epoll_create1(0),one=1;struct epoll_event v,w[256];static char is_listener[1<<16];
  for(int i=0;i<ports;i++){int s=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0);struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(7000+i)};
    setsockopt(s,SOL_SOCKET,SO_REUSEADDR,&one,sizeof one);
    if(bind(s,(void*)&a,sizeof a)||listen(s,4096)){perror("listen");return 1;}
    is_listener[s]=1;v=(struct epoll_event){EPOLLIN,{.fd=s}};epoll_ctl(e,EPOLL_CTL_ADD,s,&v);}
  puts("listening");fflush(stdout);
  for(;;){int n=epoll_wait(e,w,256,-1);
    for(int i=0;i<n;i++){int s=w[i].data.fd;
      if(is_listener[s]){for(int c;(c=accept4(s,0,0,SOCK_NONBLOCK))>=0;){if(c>=1<<16){close(c);continue;}v=(struct epoll_event){EPOLLIN,{.fd=c}};epoll_ctl(e,EPOLL_CTL_ADD,c,&v);}}
      else{if(recv(s,buf,sizeof buf,0)>0)send(s,buf,size,MSG_NOSIGNAL);close(s);}}}}

struct one{double began;int number;};
struct due{int fd,number;};
static int client(const char*ip,int ports,double rate,double seconds){
  int e=epoll_create1(0);struct epoll_event v,w[256];static struct one open_[1<<16];static struct due queue[1<<16];int head=0,tail=0;
  long opened=0,served=0,lately=0,counted=0;int alive=0;float*took=malloc(sizeof(float)*(size_t)(rate*seconds+MOST));
  double began=now(),t;
  while((t=now()-began)<seconds+PATIENCE&&(t<seconds||alive)){
    while(t<seconds&&opened<rate*t&&alive<MOST){
      int s=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0);if(s<0||s>=1<<16){if(s>=0)close(s);break;}
      struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(7000+opened%ports)};a.sin_addr.s_addr=inet_addr(ip);opened++;
      if(connect(s,(void*)&a,sizeof a)&&errno!=EINPROGRESS){close(s);continue;}
      open_[s]=(struct one){now(),(int)opened};alive++;queue[tail++&65535]=(struct due){s,(int)opened};
      v=(struct epoll_event){EPOLLOUT,{.u64=(unsigned long)opened<<32|(unsigned)s}};epoll_ctl(e,EPOLL_CTL_ADD,s,&v);}
    int n=epoll_wait(e,w,256,1);
    for(int i=0;i<n;i++){int s=(int)(w[i].data.u64&0xffffffff);if(open_[s].number!=(int)(w[i].data.u64>>32))continue;
      if(w[i].events&EPOLLOUT&&!(w[i].events&(EPOLLERR|EPOLLHUP))){send(s,"hello",5,MSG_NOSIGNAL);v=(struct epoll_event){EPOLLIN,{.u64=w[i].data.u64}};epoll_ctl(e,EPOLL_CTL_MOD,s,&v);continue;}
      ssize_t k=recv(s,buf,sizeof buf,0);if(k>0)continue;if(k<0&&errno==EAGAIN)continue;
      if(k==0){float ms=(now()-open_[s].began)*1e3;took[counted++]=ms;served++;lately+=now()-began>=seconds/2&&now()-began<seconds;}
      open_[s].number=0;alive--;close(s);}
    for(;head!=tail;head++){struct due d=queue[head&65535];if(open_[d.fd].number!=d.number)continue;
      if(now()-open_[d.fd].began<PATIENCE)break;
      open_[d.fd].number=0;alive--;close(d.fd);}}
  qsort(took,counted,sizeof(float),by_size);
  printf("%ld %ld %ld %.1f %.1f\n",opened,served,lately,counted?took[counted/2]:-1,counted?took[(long)(counted*0.99)]:-1);return 0;}

static int count(double seconds){
  int s=socket(AF_INET,SOCK_DGRAM,0),size=16<<20;struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(7000)};long n=0;
  setsockopt(s,SOL_SOCKET,SO_RCVBUFFORCE,&size,sizeof size);if(bind(s,(void*)&a,sizeof a)){perror("bind");return 1;}
  static char room[64][2048];static struct mmsghdr m[64];static struct iovec v[64];
  for(int i=0;i<64;i++){v[i]=(struct iovec){room[i],2048};m[i].msg_hdr.msg_iov=&v[i];m[i].msg_hdr.msg_iovlen=1;}
  puts("listening");fflush(stdout);
  struct timeval t={(int)seconds,(int)((seconds-(int)seconds)*1e6)};
  for(;;){int k=recvmmsg(s,m,64,MSG_WAITFORONE,0);if(k>0){if(!n)setsockopt(s,SOL_SOCKET,SO_RCVTIMEO,&t,sizeof t);n+=k;}else if(errno!=EINTR)break;}
  printf("COUNT %ld\n",n);return 0;}

static int flood(const char*ip,int size,double rate,double seconds){
  int s=socket(AF_INET,SOCK_DGRAM|SOCK_NONBLOCK,0);struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(7000)};a.sin_addr.s_addr=inet_addr(ip);
  if(connect(s,(void*)&a,sizeof a))return 1;
  static struct mmsghdr m[32];struct iovec v={buf,size};for(int i=0;i<32;i++){m[i].msg_hdr.msg_iov=&v;m[i].msg_hdr.msg_iovlen=1;}
  long sent=0,skipped=0;double began=now(),t;
  while((t=now()-began)<seconds){
    long due=(long)(rate*t)-sent-skipped;if(due<=0){struct timespec z={0,100000};nanosleep(&z,0);continue;}
    if(due>rate/20){skipped+=due-(long)(rate/20);due=(long)(rate/20);} /* it had no time, and does not catch up in a burst */
    int k=sendmmsg(s,m,due<32?due:32,0);if(k>0)sent+=k;else{struct timespec z={0,100000};nanosleep(&z,0);}}
  printf("%ld\n",sent);return 0;}

int main(int c,char**v){
  struct rlimit r={1<<16,1<<16};setrlimit(RLIMIT_NOFILE,&r);
  if(c==4&&!strcmp(v[1],"server"))return server(atoi(v[2]),atoi(v[3]));
  if(c==6&&!strcmp(v[1],"client"))return client(v[2],atoi(v[3]),atof(v[4]),atof(v[5]));
  if(c==3&&!strcmp(v[1],"count"))return count(atof(v[2]));
  if(c==6&&!strcmp(v[1],"send"))return flood(v[2],atoi(v[3]),atof(v[4]),atof(v[5]));
  fprintf(stderr,"flood server PORTS SIZE | client IP PORTS RATE SECONDS | count SECONDS | send IP SIZE RATE SECONDS\n");return 2;}
