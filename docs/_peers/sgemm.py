# Times OpenBLAS sgemm at sizes read as JSON [[op, m, k, n], ...] from standard
# input; the folder of the library is the argument. Prints [{"Op", "GFlops"}].
# op is what is transposed: C[m,n] = A[m,k] B[n,k]' (nt), A B[k,n] (nn), A[k,m]' B (tn).
import ctypes, glob, json, sys, time

path = (sorted(glob.glob(sys.argv[1] + "/libopenblas*.so*")) + sorted(glob.glob(sys.argv[1] + "/libblas.so.3")))[0]
lib = ctypes.CDLL(path)
f, row, plain, trans = ctypes.c_float, 101, 111, 112
out = []
for op, m, k, n in json.load(sys.stdin):
    a, b, c = (f * (m * k))(), (f * (k * n))(), (f * (m * n))()
    for x in (a, b):
        ctypes.memset(x, 0x3C, ctypes.sizeof(x))  # small numbers, none of them denormal
    ta, tb = (trans if op == "tn" else plain), (trans if op == "nt" else plain)
    lda, ldb = (m if op == "tn" else k), (k if op == "nt" else n)

    def call():
        lib.cblas_sgemm(row, ta, tb, m, n, k, f(1), a, lda, b, ldb, f(0), c, n)

    call()
    ts, end = [], time.time() + 0.25
    while time.time() < end or len(ts) < 5:
        t = time.perf_counter()
        call()
        ts.append(time.perf_counter() - t)
    ts.sort()
    out.append({"Op": op, "GFlops": 2e-9 * m * k * n / ts[len(ts) // 2]})
print(json.dumps(out))
