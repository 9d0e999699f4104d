"""Orders as they were written in 2023."""

from typing import Dict, List, Optional

import fastapi
import pydantic
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, validator

PLUGIN_INFO = {
    "name": "Legacy orders",
    "version": "0.9.0",
    "author": "The xcore developers",
    "tag_for_identified": ["orders"],
}

router = APIRouter(prefix="/orders", tags=["orders"])


class Order(BaseModel):
    item: str
    quantity: int = 1
    note: Optional[str] = None

    @validator("quantity")
    def quantity_is_positive(cls, value: int) -> int:  # noqa: N805 - how validators were written
        if value < 1:
            raise ValueError("must be at least 1")
        return value

    class Config:
        anystr_strip_whitespace = True


orders: Dict[int, Order] = {}


@router.get("/about")
def about() -> Dict[str, str]:
    return {"fastapi": fastapi.__version__, "pydantic": str(pydantic.VERSION)}


@router.get("/", response_model=List[Order])
def list_orders() -> List[Order]:
    return list(orders.values())


@router.post("/", status_code=201)
def add_order(order: Order) -> Dict[str, int]:
    number = len(orders) + 1
    orders[number] = order
    return {"number": number}


@router.get("/{number}", response_model=Order)
def show_order(number: int) -> Order:
    if number not in orders:
        raise HTTPException(404, f"no order {number}")
    return orders[number]


class Plugin:
    def run(self) -> None:
        """Part of the contract; nothing to do here."""
