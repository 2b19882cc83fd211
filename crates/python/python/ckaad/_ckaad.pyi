from os import PathLike
from typing import Any, Callable, Dict, Iterable, List, Literal, Mapping, Optional, Sequence, Tuple, Union, overload

import numpy as np
import numpy.typing as npt

# Also a PIL image or a torch tensor.
Picture = Union[str, "PathLike[str]", bytes, bytearray, memoryview, npt.NDArray[Any], Any]
Pictures = Union[str, "PathLike[str]", Iterable[Picture], npt.NDArray[Any]]
Progress = Callable[[str, int, int, Mapping[str, float]], Any]

__version__: str

class Region:
    @property
    def box(self) -> Tuple[float, float, float, float]: ...
    @property
    def area(self) -> float: ...
    @property
    def share(self) -> float: ...
    @property
    def peak(self) -> float: ...
    @property
    def centroid(self) -> Tuple[float, float]: ...

class Scored:
    @property
    def name(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def score_normalized(self) -> Optional[float]: ...
    @property
    def anomalous(self) -> Optional[bool]: ...
    @property
    def map(self) -> Optional[npt.NDArray[np.float32]]: ...
    @property
    def peak(self) -> Optional[float]: ...
    @property
    def regions(self) -> Optional[List[Region]]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def warnings(self) -> List[str]: ...

class Threshold:
    def __init__(self, value: float, pixel: Optional[float] = None) -> None: ...
    @staticmethod
    def max_false_alarms(normal: Sequence[Scored], share: float = 0.02) -> Threshold: ...
    @staticmethod
    def best_f1(normal: Sequence[Scored], anomalous: Sequence[Scored]) -> Threshold: ...
    @property
    def value(self) -> float: ...
    @property
    def pixel(self) -> Optional[float]: ...
    def describe(self) -> str: ...
    def doubt(self) -> Optional[str]: ...
    def __float__(self) -> float: ...

class Detector:
    @staticmethod
    def load(
        path: Union[str, "PathLike[str]"],
        device: str = "auto",
        precision: Optional[str] = None,
        *,
        batch_size: int = 1,
        maps: bool = True,
    ) -> Detector: ...
    @staticmethod
    def fit(
        normal: Pictures,
        anomalous: Optional[Pictures] = None,
        *,
        out: Union[str, "PathLike[str]", None] = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Optional[Progress] = None,
        device: str = "auto",
        precision: Optional[str] = None,
        detector: Optional[str] = None,
        backbone: Optional[str] = None,
        layers: Optional[Sequence[int]] = None,
        image_size: Optional[int] = None,
        epochs: Optional[int] = None,
        batch_size: Optional[int] = None,
        weights: Union[str, "PathLike[str]", None] = None,
        seed: int = 0,
        holdout: Optional[float] = None,
        folds: Optional[int] = None,
        max_false_alarms: float = 0.02,
        **options: Union[str, int, float],
    ) -> Detector: ...
    @overload
    def score(self, images: Picture, *, errors: Literal["raise"] = "raise") -> Scored: ...
    @overload
    def score(self, images: Iterable[Picture], *, errors: Literal["raise"] = "raise") -> List[Scored]: ...
    @overload
    def score(self, images: Iterable[Picture], *, errors: Literal["return"]) -> List[Union[Scored, Exception]]: ...
    def evaluate(
        self,
        data: Union[str, "PathLike[str]", None] = None,
        *,
        normal: Optional[Pictures] = None,
        anomalous: Optional[Pictures] = None,
        masks: Union[str, "PathLike[str]", None] = None,
        category: Optional[str] = None,
        layout: Optional[str] = None,
        normal_class: Optional[str] = None,
        pro: Literal["exact", "paper"] = "exact",
        scores: bool = False,
    ) -> Dict[str, Any]: ...
    def with_threshold(self, threshold: Union[Threshold, float]) -> Detector: ...
    def save(self, path: Union[str, "PathLike[str]"], *, overwrite: bool = False) -> None: ...
    @property
    def threshold(self) -> Optional[Threshold]: ...
    @property
    def image_size(self) -> int: ...
    @property
    def backbone(self) -> str: ...
    @property
    def layers(self) -> List[int]: ...
    @property
    def method(self) -> str: ...
    @property
    def training(self) -> Optional[Dict[str, Any]]: ...

def list_pictures(folder: Union[str, "PathLike[str]"]) -> List[str]: ...
def set_threads(count: int) -> None: ...
