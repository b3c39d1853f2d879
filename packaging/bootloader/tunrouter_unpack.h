/* See tunrouter_unpack.c. */

#ifndef TUNROUTER_UNPACK_H
#define TUNROUTER_UNPACK_H

#include <signal.h>

struct PYI_CONTEXT;

void tunrouter_begin(void);
void tunrouter_mark_child(void);
int tunrouter_needs(const struct PYI_CONTEXT *pyi_ctx, const char *name);
void tunrouter_make_folder(struct PYI_CONTEXT *pyi_ctx);
void tunrouter_unpack(struct PYI_CONTEXT *pyi_ctx);
int tunrouter_remove_folder(const char *path);
void tunrouter_end_with(unsigned int parent);
void tunrouter_hold_signals(void);
void tunrouter_release_signals(void);
void tunrouter_end_by(int number);
int tunrouter_child_has_it(const siginfo_t *about);

#endif
