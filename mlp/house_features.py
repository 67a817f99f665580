"""The columns of the Ames data, features and price, each with the range of valid values.

Any real house is within the ranges; a value outside is an error, which would spoil the statistics of its column.
"""

AREA, ROOMS, YEAR = (0, 10_000_000), (0, 10_000), (1000, 3000)  # square feet, a count, a year
BOUNDS = {
    "Lot Area": (0, 10_000_000_000),
    "Overall Qual": (0, 100),
    "Overall Cond": (0, 100),
    "Year Built": YEAR,
    "Year Remod/Add": YEAR,
    "Total Bsmt SF": AREA,
    "1st Flr SF": AREA,
    "2nd Flr SF": AREA,
    "Gr Liv Area": AREA,
    "Full Bath": ROOMS,
    "Half Bath": ROOMS,
    "Bedroom AbvGr": ROOMS,
    "Kitchen AbvGr": ROOMS,
    "TotRms AbvGrd": ROOMS,
    "Garage Area": AREA,
    "Yr Sold": YEAR,
}
FEATURES = list(BOUNDS)
PRICE, PRICES = "SalePrice", (1, 1_000_000_000_000)  # in any currency
