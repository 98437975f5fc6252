"""How spending is counted: behind `Costs`, `Limits` and `Reservations`.

A cost is charged (`charging`) to its session and to every limit it counts in (`applied`), whose windows follow local
time (`windows`). Before that, money may be set aside (`reserving`), which is then spent or given back (`settling`).
Whoever does any of this locks in one order: reservations, sessions, limits, each by id.
"""
