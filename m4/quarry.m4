dnl Macros of Quarry's configure: each flag is tried before it is used.

dnl QUARRY_PROBE_CFLAGS(VARIABLE, FLAGS): appends to VARIABLE each of FLAGS that the compiler takes without a warning.
AC_DEFUN([QUARRY_PROBE_CFLAGS], [
for quarry_flag in $2; do
	AC_MSG_CHECKING([whether $CC accepts $quarry_flag])
	quarry_saved_cflags=$CFLAGS
	CFLAGS="$CFLAGS -Werror $quarry_flag"
	AC_COMPILE_IFELSE([AC_LANG_SOURCE([[extern int probe; int probe;]])],
		[AC_MSG_RESULT([yes])
		 AS_VAR_APPEND([$1], [" $quarry_flag"])],
		[AC_MSG_RESULT([no])])
	CFLAGS=$quarry_saved_cflags
done])

dnl QUARRY_PROBE_LDFLAGS(VARIABLE, FLAGS): the same for flags that link a shared library.
AC_DEFUN([QUARRY_PROBE_LDFLAGS], [
for quarry_flag in $2; do
	AC_MSG_CHECKING([whether the linker accepts $quarry_flag])
	quarry_saved_cflags=$CFLAGS
	quarry_saved_ldflags=$LDFLAGS
	CFLAGS="$CFLAGS -fPIC"
	LDFLAGS="$LDFLAGS -shared -Wl,--fatal-warnings $quarry_flag"
	AC_LINK_IFELSE([AC_LANG_SOURCE([[extern int probe; int probe;]])],
		[AC_MSG_RESULT([yes])
		 AS_VAR_APPEND([$1], [" $quarry_flag"])],
		[AC_MSG_RESULT([no])])
	CFLAGS=$quarry_saved_cflags
	LDFLAGS=$quarry_saved_ldflags
done])

dnl QUARRY_SANITIZER(NAMES): adds the sanitizers to QUARRY_CFLAGS and QUARRY_LDFLAGS; an error if they don't work.
AC_DEFUN([QUARRY_SANITIZER], [
AC_MSG_CHECKING([whether $CC has the sanitizers $1])
quarry_saved_cflags=$CFLAGS
CFLAGS="$CFLAGS -fsanitize=$1"
AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
	[AC_MSG_RESULT([yes])],
	[AC_MSG_RESULT([no])
	 AC_MSG_ERROR([--enable-sanitizer=$1: $CC can't; allowed: address, undefined, thread])])
CFLAGS=$quarry_saved_cflags
AS_VAR_APPEND([QUARRY_CFLAGS], [" -fsanitize=$1 -fno-sanitize-recover=all -fno-omit-frame-pointer"])
AS_VAR_APPEND([QUARRY_LDFLAGS], [" -fsanitize=$1"])])
