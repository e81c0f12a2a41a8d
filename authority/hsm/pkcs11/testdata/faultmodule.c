/* A PKCS#11 module that passes every call on to another one and misbehaves on
 * request. Tests drive it through files in $CHANCERY_FAULT_DIR:
 *
 *   hang.<call>   the call does not return while the file exists
 *   once.<call>   the next call returns the code in the file, which is removed
 *   rv.<call>     each call returns the code in the file
 *   slow.<call>   each call takes so many milliseconds longer
 *   crash.<call>  the next call ends the process, as a fault in the module would
 *   swap          C_SignInit takes the key that was used before, if there was another
 *   corrupt       C_Sign flips a bit of each signature
 *   flags         number added to the flags of C_GetTokenInfo
 *   state         number that C_GetSessionInfo reports as the session's state
 *   refuse        C_GenerateKeyPair refuses templates with this attribute type
 *   calls         the module appends the names of the logins it sees
 *
 * Codes are decimal. $CHANCERY_FAULT_MODULE is the module behind.
 *
 * The function list is treated as an array: all its entries are function pointers,
 * and all arguments are words, so one signature of eight words serves every call.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long word;
typedef word (*entry)(word, word, word, word, word, word, word, word);

enum {
	OPEN_SESSION = 12, GET_SESSION_INFO = 15, LOGIN = 18, DESTROY_OBJECT = 22,
	GET_TOKEN_INFO = 6, FIND_OBJECTS_INIT = 26, FIND_OBJECTS = 27,
	SIGN_INIT = 42, SIGN = 43, GENERATE_KEY_PAIR = 59, ENTRIES = 68,
};

struct list {
	unsigned char version[2];
	entry call[ENTRIES];
};

struct attribute { word type; void *value; word size; };

static struct list ours, *theirs;
static char dir[4096];

static void path(char *out, size_t size, const char *kind, const char *name)
{
	snprintf(out, size, "%s/%s%s", dir, kind, name);
}

static int number(const char *kind, const char *name, word *n)
{
	char p[4200];
	FILE *f;
	int ok;
	path(p, sizeof p, kind, name);
	f = fopen(p, "r");
	if (!f)
		return 0;
	ok = fscanf(f, "%lu", n) == 1;
	fclose(f);
	return ok;
}

/* misbehave returns 1 when the call must return *rv instead of being made. */
static int misbehave(const char *name, word *rv)
{
	char p[4200];
	word ms;
	path(p, sizeof p, "hang.", name);
	while (access(p, F_OK) == 0)
		usleep(1000);
	if (number("slow.", name, &ms))
		usleep(ms * 1000);
	path(p, sizeof p, "crash.", name);
	if (unlink(p) == 0)
		abort();
	if (number("once.", name, rv)) {
		path(p, sizeof p, "once.", name);
		if (unlink(p) == 0) /* only one of several threads */
			return 1;
	}
	return number("rv.", name, rv);
}

#define ARGS word a, word b, word c, word d, word e, word f, word g, word h
#define PASS(i) theirs->call[i](a, b, c, d, e, f, g, h)
#define WRAP(name, i) \
	static word name(ARGS) { word rv; return misbehave(#name, &rv) ? rv : PASS(i); }

WRAP(C_OpenSession, OPEN_SESSION)
WRAP(C_DestroyObject, DESTROY_OBJECT)
WRAP(C_FindObjectsInit, FIND_OBJECTS_INIT)
WRAP(C_FindObjects, FIND_OBJECTS)

/* A handle that has come to mean another key, as after a token was replaced. */
static word C_SignInit(ARGS)
{
	static word last, before; /* torn between threads they still name some key */
	word rv, ignored;
	if (misbehave("C_SignInit", &rv))
		return rv;
	if (c != last) {
		before = last;
		last = c;
	}
	if (before && number("", "swap", &ignored))
		c = before;
	return PASS(SIGN_INIT);
}

static word C_Login(ARGS)
{
	char p[4200];
	word rv;
	FILE *out;
	path(p, sizeof p, "", "calls");
	out = fopen(p, "a");
	if (out) {
		fputs("C_Login\n", out);
		fclose(out);
	}
	return misbehave("C_Login", &rv) ? rv : PASS(LOGIN);
}

static word C_GetTokenInfo(ARGS)
{
	word rv, flags;
	if (misbehave("C_GetTokenInfo", &rv))
		return rv;
	rv = PASS(GET_TOKEN_INFO);
	/* label 32, manufacturer 32, model 16, serial 16, then flags */
	if (rv == 0 && number("", "flags", &flags))
		*(word *)((char *)b + 96) |= flags;
	return rv;
}

static word C_GetSessionInfo(ARGS)
{
	word rv = PASS(GET_SESSION_INFO), state;
	if (rv == 0 && number("", "state", &state))
		((word *)b)[1] = state;
	return rv;
}

static word C_Sign(ARGS)
{
	word rv, ignored;
	if (misbehave("C_Sign", &rv))
		return rv;
	rv = PASS(SIGN);
	if (rv == 0 && d && number("", "corrupt", &ignored))
		((unsigned char *)d)[0] ^= 1;
	return rv;
}

static word C_GenerateKeyPair(ARGS)
{
	word rv, type, i;
	if (misbehave("C_GenerateKeyPair", &rv))
		return rv;
	if (number("", "refuse", &type))
		for (i = 0; i < f; i++)
			if (((struct attribute *)e)[i].type == type)
				return 0x12; /* CKR_ATTRIBUTE_TYPE_INVALID */
	return PASS(GENERATE_KEY_PAIR);
}

word C_GetFunctionList(struct list **out)
{
	const char *module = getenv("CHANCERY_FAULT_MODULE"), *where = getenv("CHANCERY_FAULT_DIR");
	word (*get)(struct list **);
	void *library;
	if (!module || !where || strlen(where) >= sizeof dir)
		return 5; /* CKR_GENERAL_ERROR */
	strcpy(dir, where);
	library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return 5;
	*(void **)&get = dlsym(library, "C_GetFunctionList");
	if (!get || get(&theirs) != 0)
		return 5;
	ours = *theirs;
	ours.call[OPEN_SESSION] = C_OpenSession;
	ours.call[GET_SESSION_INFO] = C_GetSessionInfo;
	ours.call[LOGIN] = C_Login;
	ours.call[DESTROY_OBJECT] = C_DestroyObject;
	ours.call[GET_TOKEN_INFO] = C_GetTokenInfo;
	ours.call[FIND_OBJECTS_INIT] = C_FindObjectsInit;
	ours.call[FIND_OBJECTS] = C_FindObjects;
	ours.call[SIGN_INIT] = C_SignInit;
	ours.call[SIGN] = C_Sign;
	ours.call[GENERATE_KEY_PAIR] = C_GenerateKeyPair;
	*out = &ours;
	return 0;
}
